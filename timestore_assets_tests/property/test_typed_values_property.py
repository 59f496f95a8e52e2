"""Values of Arrow columns, of any unit: what lands is the value, and what no column can hold is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.decoding.arrow_values import typed_cell, typed_raw_column
from timestore_assets.decoding.coerce_columns import coerce
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing.inferred_types import raw_texts
from timestore_assets.model.schema import Column
from timestore_assets.model.types import parse_type
from timestore_assets.sources.files.input_file import LocalFile
from timestore_assets.sources.files.parquet.parquet_reader import ParquetReader

INT64 = st.integers(-(2**63), 2**63 - 1)
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EPOCH = datetime(1970, 1, 1)
FIRST, LAST = datetime.min, datetime.max


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def landed(con: duckdb.DuckDBPyConnection, values: pa.Array, kind: str) -> list[Any]:
    """What each value becomes in a column of the type; `refused` for those whose row is."""
    cell = typed_cell(Column(name="c", type=parse_type(kind), nullable=True), pa.chunked_array([values]), zone=None)
    row_mask = RowMask(len(values))
    table = coerce(con, [cell], row_mask)
    known = row_mask.keep(table.append_column("row", pa.array(range(len(values))))).to_pylist()
    kept = {row["row"]: row["c"] for row in known}
    return [kept.get(row, "refused") for row in range(len(values))]


def near_the_ends(per_second: int) -> st.SearchStrategy[int]:
    """Counts of a unit, most of them about where calendars or 64 bits of microseconds end."""
    edges = [-62135596800, 253402300800, 2**63 // 10**6, -(2**63) // 10**6, 0]
    near = st.builds(lambda edge, off: edge * per_second + off, st.sampled_from(edges), st.integers(-2, 2))
    return (INT64 | near).filter(lambda count: -(2**63) < count < 2**63)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), unit=st.sampled_from(sorted(UNITS)), zone=st.sampled_from([None, "UTC", "Asia/Tokyo"]), nested=st.booleans()
)
def test_an_instant_of_any_unit_lands_as_itself_or_not_at_all(
    con: duckdb.DuckDBPyConnection, data: st.DataObject, unit: str, zone: str | None, nested: bool
) -> None:
    counts = data.draw(st.lists(near_the_ends(UNITS[unit]) | st.none(), min_size=1, max_size=5))
    kind = pa.timestamp(unit, zone)
    if nested:
        found = landed(con, pa.array([[count] for count in counts], pa.list_(kind)), "list<timestamp>")
        found = [value if value == "refused" else value[0] for value in found]
    else:
        found = landed(con, pa.array(counts, kind), "timestamp")
    assert found == [None if count is None else _instant(count * 10**9 // UNITS[unit] // 1000) for count in counts]


def _instant(micros: int) -> datetime | str:
    inside = (FIRST - EPOCH) // timedelta(microseconds=1) <= micros <= (LAST - EPOCH) // timedelta(microseconds=1)
    return EPOCH + timedelta(microseconds=micros) if inside else "refused"


@settings(max_examples=40, deadline=None)
@given(count=near_the_ends(1000))
def test_days_counted_in_milliseconds_are_dates_only_when_they_are_whole(con: duckdb.DuckDBPyConnection, count: int) -> None:
    (found,) = landed(con, pa.array([count], pa.int64()).cast(pa.date64()), "date")
    day = count // 86_400_000
    is_date = count % 86_400_000 == 0 and date.min.toordinal() <= day + EPOCH.toordinal() <= date.max.toordinal()
    assert found == (date.fromordinal(day + EPOCH.toordinal()) if is_date else "refused")


@settings(max_examples=40, deadline=None)
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28))
def test_a_decimal_becomes_the_double_nearest_to_it(con: duckdb.DuckDBPyConnection, value: Decimal) -> None:
    assert landed(con, pa.array([value], pa.decimal128(38, 9)), "double") == [float(value)]


@settings(max_examples=40, deadline=None)
@given(count=INT64, unit=st.sampled_from(sorted(UNITS)))
def test_the_text_of_a_length_of_time_has_all_its_digits(con: duckdb.DuckDBPyConnection, count: int, unit: str) -> None:
    text = raw_texts(con, typed_raw_column(pa.chunked_array([pa.array([count], pa.duration(unit))]))).column("text")[0].as_py()
    hours, minutes, seconds = text.removeprefix("-").split(":")
    total = (int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds)) * UNITS[unit]
    assert total * (-1 if text.startswith("-") else 1) == count


@settings(max_examples=40, deadline=None)
@given(value=st.floats(width=64, allow_nan=False, allow_infinity=False))
def test_the_text_of_an_undeclared_double_is_that_double(con: duckdb.DuckDBPyConnection, value: float) -> None:
    text = raw_texts(con, typed_raw_column(pa.chunked_array([pa.array([value], pa.float64())]))).column("text")[0].as_py()
    assert struct.pack("d", float(text)) == struct.pack("d", value)


def test_an_undeclared_time_beyond_every_calendar_is_told_in_full(con: duckdb.DuckDBPyConnection) -> None:
    values = pa.chunked_array([pa.array([2**60, 0], pa.timestamp("ms"))])
    texts = ["36536598-01-28 21:54:06.976000", "1970-01-01 00:00:00"]
    assert raw_texts(con, typed_raw_column(values)).column("text").to_pylist() == texts
    endless = pa.chunked_array([pa.array([2**63 - 1, 0], pa.timestamp("us"))])
    assert raw_texts(con, typed_raw_column(endless)).column("text")[0].as_py() == f"<value out of range: {2**63 - 1}>"


def int96(folder: Path, *moments: tuple[int, int]) -> bytes:
    """A Parquet file with an INT96 column `until` of these Julian days and nanoseconds of the day."""
    marks = [datetime(2000, 1, 1) + timedelta(days=i) for i in range(len(moments))]
    path = folder / "int96"
    written = {"until": pa.array(marks, pa.timestamp("us"))}
    pq.write_table(pa.table(written), path, use_deprecated_int96_timestamps=True, use_dictionary=False, compression="none")
    content = path.read_bytes()
    for mark, (day, nanos) in zip(marks, moments, strict=True):
        julian = 2440588 + (mark - EPOCH).days
        assert content.count(struct.pack("<qi", 0, julian)) == 1
        content = content.replace(struct.pack("<qi", 0, julian), struct.pack("<qI", nanos, day))
    return content


def test_int96_times_land_as_they_are_and_those_beyond_64_bits_are_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    wraps_into_2022 = 2440588 + 2**64 // 86_400_000_000 + 19_000
    moments = [(5373484, 86_399_000_000_000), (2305448, 1_500), (wraps_into_2022, 0), (2**32 - 1, 0)]
    (tmp_path / "contracts.parquet").write_bytes(int96(tmp_path, *moments))
    (batch,) = ParquetReader(file=LocalFile(tmp_path / "contracts.parquet"), memory_bytes=1_000_000).batches()
    assert landed(con, batch.records.column("until").combine_chunks(), "timestamp") == [
        datetime(9999, 12, 31, 23, 59, 59),
        datetime(1600, 1, 1, 0, 0, 0, 1),
        "refused",
        "refused",
    ]
