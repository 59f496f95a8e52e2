"""Pure parts of the catalog: instants, widening, stored segments, states."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.catalog.effective_declaration import is_widening, redeclare
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.partitions import next_state
from timestore_assets.catalog.stored_segments import StoredStats, stats_text, to_segments
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.types import DOUBLE, INT64, STRING, parse_type


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_instants_are_exact(instant: datetime) -> None:
    try:
        expected = instant.astimezone(UTC)
    except OverflowError:
        return
    assert from_micros(to_micros(instant)) == expected


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999) | st.integers(0, 2**31 * 1_000_000))
def test_every_microsecond_comes_back(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_micros(datetime(2013, 1, 1))


@pytest.mark.parametrize(
    ("before", "after", "lossless"),
    [
        ("int32", "int64", True),
        ("int32", "double", True),
        ("int64", "double", False),
        ("int64", "int32", False),
        ("float", "double", True),
        ("double", "float", False),
        ("bool", "int64", True),
        ("date", "timestamp", True),
        ("timestamp", "date", False),
        ("int64", "string", False),
        ("int32", "decimal(10,0)", True),
        ("int32", "decimal(10,2)", False),
        ("int64", "decimal(21,2)", True),
        ("decimal(10,2)", "decimal(12,3)", True),
        ("decimal(10,2)", "decimal(12,5)", False),
        ("decimal(10,2)", "decimal(12,1)", False),
        ("double", "decimal(38,10)", False),
        ("list<int32>", "list<int64>", True),
        ("list<int64>", "list<int32>", False),
        ("struct<a: int64>", "struct<a: int64>", True),
        ("struct<a: int64>", "struct<b: int64>", False),
    ],
)
def test_only_lossless_types_are_wider(before: str, after: str, lossless: bool) -> None:
    assert is_widening(parse_type(before), parse_type(after)) is lossless


@pytest.mark.parametrize(
    ("before", "after", "lossless"), [("int64", "double", True), ("double", "string", True), ("string", "int64", False)]
)
def test_text_widens_along_the_inference_order(before: str, after: str, lossless: bool) -> None:
    assert is_widening(parse_type(before), parse_type(after), from_text=True) is lossless


def test_declared_order_comes_first_and_inferred_columns_stay() -> None:
    found = Column(name="found", type=STRING, nullable=True, origin="inferred")
    current = Schema(columns=(Column(name="a", type=INT64), found, Column(name="b", type=INT64)), version=4)
    declared = Schema(
        columns=(Column(name="b", type=INT64), Column(name="c", type=DOUBLE, nullable=True), Column(name="a", type=INT64))
    )
    result = redeclare(current, declared)
    assert result.schema.names == ("b", "c", "a", "found")
    assert result.schema.version == 5
    assert [change.column for change in result.changes] == ["c"]
    assert redeclare(result.schema, declared).schema == result.schema


def test_rows_become_the_segments_their_own_constructor_makes() -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    stats = {"x": ColumnStats(min=1, max=2, nulls=3)}
    expected = Segment(
        id=7,
        dataset_id=3,
        name="n",
        partition_start=start,
        kind="delta",
        format="parquet",
        storage="default",
        rows=1,
        bytes=2,
        min_time=start,
        max_time=start + timedelta(microseconds=1),
        schema_version=4,
        level=1,
        semantic_key=("EWR", "2"),
        sorted_by=("a",),
        deduplicated=True,
        source_ids=(8, 9),
        content_hash="h",
        first_row=10,
        object_bytes=11,
        added_version=5,
        removed_version=6,
        stats=stats,
    )
    micros = to_micros(start)
    row = (
        7,
        micros,
        "n",
        "delta",
        "parquet",
        "default",
        1,
        2,
        micros,
        micros + 1,
        4,
        1,
        '["EWR", "2"]',
        '["a"]',
        1,
        "8,9",
        "h",
        10,
        11,
        5,
        6,
    )
    (made,) = to_segments([(*row, stats_text(stats))], 3)
    assert made == expected
    assert repr(made).startswith("Segment(name='n'")
    assert copy.replace(made, rows=2).rows == 2 if hasattr(copy, "replace") else True
    assert to_segments([], 3) == []


def test_statistics_are_decoded_when_asked() -> None:
    stats = StoredStats(
        stats_text({"t": ColumnStats(min="2013-01-01T00:00:00", max=None, nulls=2), "x": ColumnStats(min=-1.5, max=3)})
    )
    assert stats["t"] == ColumnStats(min="2013-01-01T00:00:00", max=None, nulls=2)
    assert list(stats) == ["t", "x"]
    assert stats == {"t": stats["t"], "x": ColumnStats(min=-1.5, max=3)}
    assert "y" not in stats


@pytest.mark.parametrize(
    ("before", "seal", "unbuilt", "retracted", "after"),
    [
        ("open", True, False, False, "sealed"),
        ("open", False, False, False, "open"),
        ("open", True, True, False, "open"),
        ("stale", True, False, False, "sealed"),
        ("stale", True, True, False, "stale"),
        ("stale", False, False, False, "stale"),
        ("sealed", False, False, False, "sealed"),
        ("open", True, False, True, "open"),
        ("sealed", True, False, True, "stale"),
    ],
)
def test_state_after_a_build(before: str, seal: bool, unbuilt: bool, retracted: bool, after: str) -> None:
    assert next_state(before, seal=seal, unbuilt=unbuilt, retracted=retracted) == after
