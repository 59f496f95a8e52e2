"""Answers written out: every format gives the same rows, and what another program reads is what was landed."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.model.errors import InputError
from timestore_assets.querying.answer import Answer, AnswerDetails
from timestore_assets.querying.rendering.render import write_arrow, write_csv, write_json, write_parquet
from timestore_assets_tests.support.query_warehouse import TYPES, QueryWarehouse, money, query_warehouse_in, row

TRICKY = [
    "plain",
    'comma, "quote"',
    "two\nlines",
    "",
    " padded ",
    "ünïcødé 🦆",
    "\\ back",
    "NULL",
    None,
    "tab\t",
    "'",
    "carriage\rreturn",
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryWarehouse]:
    made = query_warehouse_in(tmp_path_factory.mktemp("render"))
    made.land(
        [
            row("a", i, value=i / 3, n=2**53 + i, amount=money("12345678.90"), flag=i % 2 == 0, note=note, date=date(2024, 2, 29))
            for i, note in enumerate(TRICKY)
        ]
    )
    made.land([row("b", 0.5, value=float("nan")), row("b", 1, value=float("inf")), row("b", 1.0000001, value=-0.0, n=-(2**63))])
    yield made
    made.close()


def written(write: Callable[[Answer, Any], int], answer: Answer) -> bytes:
    out = io.BytesIO()
    with answer:
        write(answer, out)
    return out.getvalue()


def over(table: pa.Table, *, chunk: int | None = None) -> Answer:
    """An answer with just these rows."""
    batches = iter(table.to_batches(max_chunksize=chunk))
    facts = AnswerDetails(manifest_versions={}, scanned=0, pruned=0)
    return Answer(schema=table.schema, batches=batches, facts=facts, close=lambda: None)


def test_json_is_an_array_of_objects_with_times_in_rfc_3339(warehouse: QueryWarehouse) -> None:
    found = json.loads(written(write_json, warehouse.ask()))
    assert len(found) == len(TRICKY) + 3
    assert list(found[0]) == list(TYPES)
    assert [one["note"] for one in found if one["device"] == "a"] == TRICKY
    first = found[0]
    assert first["ts"] == "2024-01-01T00:00:00Z"
    assert (first["n"], first["amount"], first["flag"], first["date"]) == (2**53, "12345678.90", True, "2024-02-29")
    assert [one["value"] for one in found if one["device"] == "b"] == [None, None, 0.0]
    assert found[-1]["value"] == (len(TRICKY) - 1) / 3
    assert [one["ts"] for one in found if one["device"] == "b"] == [
        "2024-01-01T00:00:30Z",
        "2024-01-01T00:01:00Z",
        "2024-01-01T00:01:00.000006Z",
    ]


def test_json_of_no_rows_is_an_empty_array(warehouse: QueryWarehouse) -> None:
    assert written(write_json, warehouse.ask(where="n = 0")) == b"[]\n"


def test_csv_reads_back(warehouse: QueryWarehouse) -> None:
    text = written(write_csv, warehouse.ask()).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(found[0]) == list(TYPES)
    assert [one["note"] for one in found if one["device"] == "a"] == [note or "" for note in TRICKY]
    assert (found[0]["ts"], found[0]["amount"], found[0]["flag"]) == ("2024-01-01T00:00:00Z", "12345678.90", "true")
    assert [one["value"] for one in found if one["device"] == "b"] == ["nan", "inf", "-0.0"]
    assert ',"",1\n' in text  # an empty text, not a null
    assert written(write_csv, warehouse.ask(columns=("ts", "n"), where="n = 0")) == b"ts,n\n"


def test_parquet_and_arrow_hold_the_very_rows_types_and_units(warehouse: QueryWarehouse) -> None:
    with warehouse.ask() as answer:
        table = answer.table()
    files = {
        "parquet": pq.read_table(io.BytesIO(written(write_parquet, warehouse.ask()))),
        "file": pa.ipc.open_file(io.BytesIO(written(write_arrow, warehouse.ask()))).read_all(),
        "stream": pa.ipc.open_stream(
            io.BytesIO(written(lambda answer, out: write_arrow(answer, out, stream=True), warehouse.ask()))
        ).read_all(),
    }
    for found in files.values():
        assert found.schema == table.schema
        assert found.schema.field("value").metadata[b"unit"] == b"degC"
        assert found.drop_columns("value").equals(table.drop_columns("value"))
        assert repr(found.column("value").to_pylist()) == repr(table.column("value").to_pylist())
    for write in (write_parquet, write_arrow):
        assert written(write, warehouse.ask(where="n = 0"))


NESTED = pa.table(
    {
        "numbers": pa.array([[1.5, math.nan, None], [], None], pa.list_(pa.float64())),
        "when": pa.array([[datetime(2024, 1, 1, tzinfo=UTC)], [None], None], pa.list_(pa.timestamp("us", tz="UTC"))),
        "thing": pa.array(
            [{"x": 1, "deep": {"raw": b"\x00\xff"}}, {"x": None, "deep": None}, None],
            pa.struct([("x", pa.int64()), ("deep", pa.struct([("raw", pa.binary())]))]),
        ),
        "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "half": pa.array([0.1, 1e10, None], pa.float32()),
        "whole": pa.array([Decimal(10) ** 30, Decimal(-1), None], pa.decimal128(38, 0)),
        "A": [1, 2, 3],
        "a": ["x", "y", None],
        'odd, "name"': [True, None, False],
    }
)


def test_json_of_nested_binary_and_wide_values() -> None:
    first, second, third = json.loads(written(write_json, over(NESTED)))
    assert first == {
        "numbers": [1.5, None, None],
        "when": ["2024-01-01T00:00:00Z"],
        "thing": {"x": 1, "deep": {"raw": base64.b64encode(b"\x00\xff").decode()}},
        "raw": "AP8=",
        "half": 0.1,
        "whole": 10**30,
        "A": 1,
        "a": "x",
        'odd, "name"': True,
    }
    assert (second["numbers"], second["when"], second["thing"]) == ([], [None], {"x": None, "deep": None})
    assert set(third.values()) == {None, 3, False}


def test_csv_of_nested_values_is_json_in_a_field() -> None:
    found = list(csv.DictReader(io.StringIO(written(write_csv, over(NESTED)).decode(), newline="")))
    assert json.loads(found[0]["thing"]) == {"x": 1, "deep": {"raw": "AP8="}}
    assert json.loads(found[0]["numbers"]) == [1.5, None, None]
    assert (found[0]["raw"], found[0]["half"], found[0]["whole"]) == ("AP8=", "0.1", str(10**30))
    assert found[0]['odd, "name"'] == "true"
    assert found[2]["thing"] == ""


@pytest.mark.parametrize("write", [write_json, write_csv, write_parquet, write_arrow])
def test_a_pipe_that_can_not_seek_is_enough(warehouse: QueryWarehouse, write: Callable[[Answer, Any], int]) -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []

    def drain() -> None:
        with open(reading, "rb") as source:
            received.append(source.read())

    reader = threading.Thread(target=drain)
    reader.start()
    with open(writing, "wb") as out, warehouse.ask() as answer:
        rows = write(answer, out)
        assert not out.closed
    reader.join(timeout=30)
    assert rows == len(TRICKY) + 3
    assert len(received[0]) > 300


def test_rows_are_counted_over_many_batches(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(1001))})
    assert json.loads(written(write_json, over(table, chunk=100))) == table.to_pylist()
    assert written(write_csv, over(table, chunk=100)).count(b"\n") == 1002
    assert pq.read_table(io.BytesIO(written(write_parquet, over(table, chunk=100)))).equals(table)


def test_what_parquet_cannot_hold_is_refused_by_name_before_the_first_byte() -> None:
    table = pa.table({"a": [1], "span": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    out = io.BytesIO()
    with pytest.raises(InputError, match="column 'span' is of Arrow type month_day_nano_interval, which Parquet can't hold"):
        write_parquet(over(table), out)
    assert out.getvalue() == b""


def test_nanoseconds_are_written_in_full() -> None:
    table = pa.table({"t": pa.array([1, None], pa.timestamp("ns"))})
    assert json.loads(written(write_json, over(table))) == [{"t": "1970-01-01T00:00:00.000000001Z"}, {"t": None}]
    assert written(write_csv, over(table)).decode().splitlines()[1] == "1970-01-01T00:00:00.000000001Z"
