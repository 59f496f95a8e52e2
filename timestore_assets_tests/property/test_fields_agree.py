"""Values inside nested fields are the same however the records are written, and however they are split (I4)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.decode import decode
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.dataset import FileSource, HttpSource
from timestore_assets.model.field_path import FieldPath
from timestore_assets.model.record_form import RecordForm, TimeForm
from timestore_assets.sources.arrow_json import json_rows
from timestore_assets.sources.batches import Batch
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.open_reader import open_reader
from timestore_assets.sources.http.body_formats import BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import BodyLimits, join
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.landing_warehouse import columns, dataset

COLUMNS = columns(at="timestamp", place="string?", level="double?", lon="double?", flag="bool?")
DATASET = dataset(*COLUMNS[1:], sources=(HttpSource(),))
FORM = RecordForm(
    times=(TimeForm(column="at", unit="ms"),),
    fields=(
        FieldPath(column="at", steps=("properties", "time")),
        FieldPath(column="place", steps=("where",)),
        FieldPath(column="level", steps=("properties", "deep", "level")),
        FieldPath(column="lon", steps=("geometry", "coordinates", 0)),
    ),
)
EPOCH = datetime(1970, 1, 1)
QUIET = settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
KINDS = pa.schema(
    {
        "properties": pa.struct({"time": pa.int64(), "deep": pa.struct({"level": pa.float64()}), "rest": pa.string()}),
        "where": pa.string(),
        "geometry": pa.struct({"coordinates": pa.list_(pa.float64())}),
        "flag": pa.bool_(),
    }
)


@dataclass(frozen=True)
class Row:
    millis: int
    place: str | None
    deep: dict[str, float | None] | None
    coordinates: list[float] | None
    geometry: bool
    flag: bool | None

    def plain(self) -> tuple[Any, ...]:
        level = None if self.deep is None else self.deep["level"]
        lon = self.coordinates[0] if self.geometry and self.coordinates else None
        return EPOCH + timedelta(milliseconds=self.millis), self.place, level, lon, self.flag

    def record(self) -> dict[str, Any]:
        return {
            "properties": {"time": self.millis, "deep": self.deep, "rest": "a:b,c"},
            "where": self.place,
            "geometry": {"coordinates": self.coordinates} if self.geometry else None,
            "flag": self.flag,
        }

    def flat(self) -> dict[str, Any]:
        _, place, level, lon, flag = self.plain()
        flags = {None: None, True: "true", False: "false"}
        return {
            "properties.time": self.millis,
            "where": place,
            "properties.deep.level": level,
            "geometry.coordinates.0": lon,
            "flag": flags[flag],
        }


NUMBERS = st.integers(-(10**6), 10**6).map(lambda value: value / 1000)
ROWS = st.lists(
    st.builds(
        Row,
        millis=st.integers(-(10**12), 5 * 10**12),
        place=st.none() | st.text("abé ü:,\\\"'{[", min_size=1, max_size=6).map(lambda text: f"x{text}x"),
        deep=st.none() | st.fixed_dictionaries({"level": st.none() | NUMBERS}),
        coordinates=st.none() | st.lists(NUMBERS, max_size=3),
        geometry=st.booleans(),
        flag=st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=10,
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def decoded(con: duckdb.DuckDBPyConnection, batch: Batch) -> list[tuple[Any, ...]]:
    row_mask = RowMask(batch.records.num_rows)
    found = decode(con, batch, row_mask, declared=COLUMNS, form=FORM)
    assert not batch.bad
    assert row_mask.refused().to_pylist() == []
    assert set(found.extras.names()) <= {"properties", "geometry"}
    table, nothing = found.table, [None] * batch.records.num_rows
    lists = [table.column(one.name).to_pylist() if one.name in table.column_names else nothing for one in COLUMNS]
    return list(zip(*lists, strict=True))


def batch_of(encoding: Any, table: pa.Table) -> Batch:
    return Batch(
        encoding=encoding,
        records=table,
        positions=pa.array(range(table.num_rows), pa.int64()),
        lines=None,
        bad=(),
        raw=lambda _: b"",
    )


def values(texts: Sequence[bytes]) -> pa.Table:
    return pa.table({"value": pa.array(texts, pa.binary())})


def body(data: bytes, media_type: MediaType) -> Batch:
    limits = BodyLimits(bytes=10**9, rows=10**6, record_bytes=1 << 20)
    context = BodyContext(dataset=DATASET, source=HttpSource(form=FORM), limits=limits)
    return join([read_body(data, media_type, context)], first=0)


@QUIET
@given(rows=ROWS)
def test_nested_fields_of_files_requests_topics_and_typed_columns(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[Row]
) -> None:
    """I4."""
    texts = [json.dumps(row.record(), ensure_ascii=False).encode() for row in rows]
    table = pa.Table.from_pylist([row.record() for row in rows], KINDS)
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(texts))
    (tmp_path / "a.json").write_bytes(b'{"features": [' + b", ".join(texts) + b"]}")
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    expected = [row.plain() for row in rows]
    sources = {
        "a.jsonl": FileSource(prefix="p", format="jsonl", form=FORM),
        "a.json": FileSource(prefix="p", format="json", path=("features",), form=FORM),
        "a.parquet": FileSource(prefix="p", form=FORM),
    }
    for name, source in sources.items():
        for chunk in (None, 1):
            batches = open_reader(LocalFile(tmp_path / name), source, chunk_rows=chunk).batches()
            assert [row for batch in batches for row in decoded(con, batch)] == expected, name
    letters = values([text.encode() for text in json_rows(table)])
    for one in (
        body(b"[" + b",".join(texts) + b"]", "application/json"),
        body(b"\n".join(texts), "application/x-ndjson"),
        batch_of("json", values(texts)),
        batch_of("json", letters),
        batch_of("typed", table.slice(0)),
        batch_of("typed", pa.concat_tables([table.slice(0, 1), table.slice(1)])),
    ):
        assert decoded(con, one) == expected


@QUIET
@given(rows=ROWS)
def test_records_that_were_flattened_have_their_values_under_the_whole_name(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[Row]
) -> None:
    """I4."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0].flat()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.flat() for row in rows)
    (tmp_path / "a.csv").write_text(out.getvalue())
    expected = [row.plain() for row in rows]
    (batch,) = open_reader(LocalFile(tmp_path / "a.csv"), FileSource(prefix="p", form=FORM)).batches()
    assert decoded(con, batch) == expected
    assert decoded(con, body(out.getvalue().encode(), "text/csv")) == expected
    assert decoded(con, batch_of("json", values([json.dumps(row.flat()).encode() for row in rows]))) == expected


@QUIET
@given(rows=ROWS, odd=st.sampled_from(["place", "level", "time", "twice", "own"]), at=st.integers(0, 9))
def test_what_is_refused_does_not_depend_on_the_split(con: duckdb.DuckDBPyConnection, rows: list[Row], odd: str, at: int) -> None:
    """I4: a bad record is refused for the same reason alone and among others."""
    texts = [json.dumps(row.record(), ensure_ascii=False).encode() for row in rows]
    bad = {
        "place": b'{"properties": {"time": 1}, "where": {"a": 1}}',
        "level": b'{"properties": {"time": 1, "deep": [1]}}',
        "time": b'{"properties": {"time": "soon"}}',
        "twice": b'{"properties": {"time": 1, "time": 2}}',
        "own": b'{"properties": {"time": 1}, "at": "2024-01-01"}',
    }[odd]
    place = min(at, len(texts))
    texts.insert(place, bad)
    refused = []
    for chosen, row in ((texts, place), ([bad], 0)):
        row_mask = RowMask(len(chosen))
        decode(con, batch_of("json", values(chosen)), row_mask, declared=COLUMNS, form=FORM)
        (one,) = row_mask.refused().to_pylist()
        assert one.pop("row") == row
        refused.append(one)
    assert refused[0] == refused[1]
    assert refused[0]["code"] == {"twice": "duplicate_keys", "own": "ambiguous_column"}.get(odd, "bad_value")
