"""Rows of every kind become bodies of bounded size, in order, none lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from timestore_assets.client.request_bodies import ARROW, BODY_BYTES, JSON_LINES, EncodedRows, bodies
from timestore_assets.model.errors import InputError

TABLE = pa.table({"n": list(range(10)), "s": [f"s{n}" for n in range(10)]})
ROWS: list[dict[str, Any]] = TABLE.to_pylist()


def rows_of(sent: list[EncodedRows]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for body in sent:
        if body.media_type == JSON_LINES:
            here = [json.loads(line) for line in body.content.splitlines()]
        else:
            here = pa.ipc.open_stream(body.content).read_all().to_pylist()
        assert len(here) == body.rows
        found += here
    return found


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (ROWS, JSON_LINES),
        (iter(ROWS), JSON_LINES),
        (TABLE, ARROW),
        (TABLE.to_batches()[0], ARROW),
        (pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(max_chunksize=2)), ARROW),
        (pl.DataFrame(ROWS), ARROW),
        (pd.DataFrame(ROWS), ARROW),
        (pd.DataFrame(ROWS).set_index("n"), ARROW),
        ([pl.DataFrame(ROWS[:5]), pl.DataFrame(ROWS[5:])], ARROW),
    ],
    ids=["list", "iterator", "table", "batch", "reader", "polars", "pandas", "pandas index", "frames"],
)
def test_rows_of_any_kind(data: Any, media_type: str) -> None:
    sent = list(bodies(data, rows=4))
    assert rows_of(sent) == ROWS
    assert {body.media_type for body in sent} == {media_type}
    assert all(body.rows <= 4 for body in sent)


def test_small_batches_of_one_schema_share_a_body() -> None:
    assert [body.rows for body in bodies(iter(TABLE.to_batches(max_chunksize=1)), rows=6)] == [6, 4]
    other = pa.table({"n": [1.5]})
    assert [body.rows for body in bodies([TABLE, other, TABLE])] == [10, 1, 10]


def test_bodies_are_bounded_in_bytes() -> None:
    wide = "x" * 1_000_000
    records = list(bodies({"n": n, "text": wide} for n in range(40)))
    frames = list(bodies(pa.table({"text": [wide] * 40})))
    assert [body.rows for body in records] == [15, 15, 10]
    assert all(len(body.content) <= BODY_BYTES for body in records)
    assert sum(body.rows for body in frames) == 40
    assert max(body.rows for body in frames) <= 16


def test_an_iterator_is_read_no_further_than_what_was_sent() -> None:
    read: list[int] = []

    def endless() -> Iterator[dict[str, int]]:
        n = 0
        while True:
            read.append(n)
            yield {"n": n}
            n += 1

    sent = bodies(endless(), rows=100)
    assert next(sent).rows == next(sent).rows == 100
    assert len(read) <= 202


def test_the_same_rows_give_the_same_bytes() -> None:
    assert list(bodies(ROWS, rows=3)) == list(bodies(iter(ROWS), rows=3))
    assert list(bodies(TABLE, rows=3)) == list(bodies(TABLE, rows=3))


def test_values_without_a_form_in_json() -> None:
    record = {
        "at": datetime(2024, 1, 1, 6, tzinfo=UTC),
        "day": date(2024, 1, 2),
        "amount": Decimal("1.10"),
        "raw": b"\x00\xff",
        "raw text": "Zürich\0".encode(),
        "view": memoryview(b"\xfe"),
        "n": np.int64(3),
        "list": np.array([1.5, 2.5]),
        "text": "Zürich \u2028",
    }
    (row,) = rows_of(list(bodies([record])))
    assert row == {
        "at": "2024-01-01T06:00:00+00:00",
        "day": "2024-01-02",
        "amount": "1.10",
        "raw": {"base64": "AP8="},
        "raw text": "Zürich\0",
        "view": {"base64": "/g=="},
        "n": 3,
        "list": [1.5, 2.5],
        "text": "Zürich \u2028",
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"n": 1}, r"\[record\]"),
        ("a text", "str can't be ingested"),
        (7, "int can't be ingested"),
        ([1, 2], "among the rows is a int"),
        ([{"n": object()}], "object can't be sent as JSON"),
        ([pl.DataFrame(ROWS).lazy()], "LazyFrame"),
        (pl.Series([1]), "polars's Series can't be ingested"),
        (pd.Series([1]), "pandas's Series can't be ingested"),
        (pa.array([1]), "pyarrow's Int64Array can't be ingested"),
        (pa.chunked_array([[1]]), "pyarrow's ChunkedArray can't be ingested"),
    ],
)
def test_other_data_is_refused_in_words(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(bodies(data))


def test_nothing_is_sent_for_nothing() -> None:
    assert list(bodies([])) == list(bodies(pl.DataFrame({"n": []}))) == list(bodies(TABLE.slice(0, 0))) == []
