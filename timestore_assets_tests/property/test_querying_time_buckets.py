"""Buckets of time by the clocks of a zone, against Python's own idea of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Every, Months
from timestore_assets.querying.planning.time_buckets import Buckets, parse_zone
from timestore_assets_tests.support.examples import examples

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Pacific/Apia",
]
LENGTHS: list[Every] = [
    *(timedelta(minutes=minutes) for minutes in (1, 15, 30, 60, 120, 360, 1440, 10080)),
    *("week", "month", "quarter", "year"),
    Months(number=2),
]
ORIGIN = datetime(2000, 1, 3)
CHANGES = [datetime(2024, 3, 31), datetime(2024, 10, 27), datetime(2024, 11, 3), datetime(2024, 4, 7), datetime(2011, 12, 30)]
NEAR_CHANGES = st.builds(
    lambda day, off: day + off, st.sampled_from(CHANGES), st.timedeltas(timedelta(days=-2), timedelta(days=2))
)
TIMES = NEAR_CHANGES | st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2037, 1, 1))


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def wall(utc: datetime, zone: str) -> datetime:
    return utc.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def local_start(every: Every, local: datetime) -> datetime:
    if isinstance(every, timedelta):
        return ORIGIN + (local - ORIGIN) // every * every
    if every == "week":
        return local_start(timedelta(weeks=1), local)
    months = every.number if isinstance(every, Months) else {"month": 1, "quarter": 3, "year": 12}[every]
    number = ((local.year - 2000) * 12 + local.month - 1) // months * months
    return datetime(2000 + number // 12, number % 12 + 1, 1)


def first_instant(local: datetime, zone: str) -> datetime:
    """When the clocks first show that time or, if they never do, go past it."""
    low, high = local - timedelta(hours=30), local + timedelta(hours=30)
    before = [low + timedelta(minutes=15) * i for i in range(4 * 60) if wall(low + timedelta(minutes=15) * i, zone) < local]
    # backwards changes show a time twice: the first moment at which it is reached counts
    for at in [*before, high]:
        if wall(at + timedelta(minutes=15), zone) >= local:
            low, high = at, at + timedelta(minutes=15)
            break
    while high - low > timedelta(microseconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if wall(middle, zone) < local else (low, middle)
    return high


@settings(max_examples=examples(40), deadline=None)
@given(zone=st.sampled_from(ZONES), every=st.sampled_from(LENGTHS), time=TIMES)
def test_a_bucket_begins_when_the_clocks_say_so(con: duckdb.DuckDBPyConnection, zone: str, every: Every, time: datetime) -> None:
    ((found,),) = con.execute(
        f"SELECT {Buckets(every=every, zone=zone).start('t')} FROM (SELECT ?::TIMESTAMP AS t)", [time]
    ).fetchall()
    start = local_start(every, wall(time, zone))
    if isinstance(every, timedelta) and every <= timedelta(hours=1):
        assert time - found == wall(time, zone) - start
    else:
        assert found == first_instant(start, zone)


@settings(max_examples=examples(15), deadline=None)
@given(zone=st.sampled_from([None, *ZONES]), every=st.sampled_from(LENGTHS), start=TIMES, data=st.data())
def test_the_series_of_buckets_has_each_once_and_those_of_all_times_in_it(
    con: duckdb.DuckDBPyConnection, zone: str | None, every: Every, start: datetime, data: st.DataObject
) -> None:
    buckets = Buckets(every=every, zone=zone)
    length = buckets.shortest * data.draw(st.integers(0, 30))
    times = [start, start + length, *(start + length * data.draw(st.floats(0, 1)) for _ in range(3))]
    table = "(SELECT ?::TIMESTAMP AS low, ?::TIMESTAMP AS high)"
    series = f"SELECT bucket FROM {table}, LATERAL ({buckets.series('low', 'high', most=None)})"
    found = [row[0] for row in con.execute(series, [start, start + length]).fetchall()]
    made = {_one(con, f"SELECT {buckets.start('t')} FROM (SELECT ?::TIMESTAMP AS t)", [time]) for time in times}
    assert len(found) == len(set(found))
    assert made <= set(found)
    assert min(found) <= start
    assert max(found) <= start + length
    assert max(_one(con, f"SELECT count(*) FROM {table}, LATERAL ({buckets.series('low', 'high', most=3)})", times[:2]), 1) <= 4


def _one(con: duckdb.DuckDBPyConnection, sql: str, values: list[datetime]) -> Any:
    found = con.execute(sql, values).fetchone()
    assert found is not None
    return found[0]


def test_utc_is_no_zone_and_an_unknown_one_is_named() -> None:
    assert parse_zone("UTC") is None
    assert parse_zone("Asia/Tokyo") == "Asia/Tokyo"
    for text in ("Mars/Olympus", "", "../etc/passwd"):
        with pytest.raises(InputError, match="is no time zone"):
            parse_zone(text)
