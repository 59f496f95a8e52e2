"""Bucket lengths: how many buckets a range has, and which length is proposed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.querying.planning.aggregates import bucket_sql
from timestore_assets.querying.planning.time_buckets import LADDER, BucketWidth, Unit, buckets, fitting

UNITS: list[Unit] = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
TIMES = st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2080, 1, 1), timezones=st.just(UTC))


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@given(unit=st.sampled_from(UNITS), size=st.integers(1, 40), start=TIMES, length=st.timedeltas(timedelta(0), timedelta(days=90)))
def test_buckets_are_counted_as_duckdb_makes_them(
    con: duckdb.DuckDBPyConnection, unit: Unit, size: int, start: datetime, length: timedelta
) -> None:
    """From the first bucket on, each begins where adding the length leads; the last one holds the range's last moment."""
    every, end = BucketWidth(unit=unit, size=size).every, start + length
    number = buckets(every, start, end)
    if length == timedelta(0):
        assert number == 0
        return
    last = f"TIMESTAMP '{(end - timedelta(microseconds=1)).replace(tzinfo=None)}'"
    first = bucket_sql(every, f"TIMESTAMP '{start.replace(tzinfo=None)}'")
    step = f"to_{'months' if unit in ('month', 'quarter', 'year') else unit + 's'}"
    lengths = size * {"month": 1, "quarter": 3, "year": 12}.get(unit, 1)
    ((low, high, found),) = con.execute(
        f"SELECT {first} + {step}(({number - 1} * {lengths})::INTEGER), {first} + {step}(({number} * {lengths})::INTEGER), {last}"
    ).fetchall()
    assert low <= found < high


@given(start=TIMES, length=st.timedeltas(timedelta(seconds=1), timedelta(days=5000)), most=st.integers(20, 100_000))
def test_the_finest_that_fits_is_proposed(start: datetime, length: timedelta, most: int) -> None:
    grain = fitting(start, start + length, most)
    assert grain is not None
    assert buckets(grain.every, start, start + length) <= most
    finer = LADDER[: LADDER.index(grain)]
    assert all(buckets(one.every, start, start + length) > most for one in finer)


def test_a_range_for_which_nothing_fits() -> None:
    assert fitting(datetime(1900, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC), 99) is None
    assert str(BucketWidth(unit="minute", size=15)) == "15 minutes" and str(BucketWidth(unit="year")) == "1 year"
