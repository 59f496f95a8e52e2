"""A query's arguments as the request body, and how long a client waits before it tries again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from timestore_assets.client.asking import question
from timestore_assets.client.exchange import Retries, retry_after
from timestore_assets.model.errors import InputError


def test_nothing_asked_is_an_empty_body() -> None:
    assert question() == {}


def test_the_latest_rows_are_asked_for_first() -> None:
    assert question(descending=True, limit=5) == {"descending": True, "limit": 5}
    assert question(descending=False) == {}


def test_times_are_utc() -> None:
    asked = question(start=date(2024, 1, 1), end=datetime(2024, 1, 2, 3))
    assert asked == {"timeRange": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T03:00:00Z"}}
    assert question(start="2024-01-01") == {"timeRange": {"start": "2024-01-01"}}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"station": "JFK"}, [{"column": "station", "op": "eq", "value": "JFK"}]),
        ({"station": ["JFK", "LGA"]}, [{"column": "station", "op": "in", "values": ["JFK", "LGA"]}]),
        ([("temp", ">=", 20.5)], [{"column": "temp", "op": "gte", "value": 20.5}]),
        ([("temp", "isNull")], [{"column": "temp", "op": "isNull"}]),
        ([("ts", "<", datetime(2024, 1, 1, tzinfo=UTC))], [{"column": "ts", "op": "lt", "value": "2024-01-01T00:00:00Z"}]),
        ([{"column": "n", "op": "between", "values": [1, 2]}], [{"column": "n", "op": "between", "values": [1, 2]}]),
    ],
)
def test_filters(filters: Any, expected: list[dict[str, Any]]) -> None:
    assert question(filters=filters)["filters"] == expected


@pytest.mark.parametrize(
    ("every", "unit", "size"),
    [
        ("1h", "hour", 1),
        ("90m", "minute", 90),
        ("1w", "day", 7),
        ("month", "month", 1),
        (timedelta(seconds=15), "second", 15),
        (timedelta(days=2), "day", 2),
    ],
)
def test_bucket_lengths(every: Any, unit: str, size: int) -> None:
    asked = question(every=every, aggregates="avg:temp,percentile(95):temp as p95,count", group_by=["station"], fill="null")
    assert asked["downsample"] == {
        "intervalUnit": unit,
        "intervalSize": size,
        "aggregations": [
            {"fn": "avg", "column": "temp"},
            {"fn": "percentile", "column": "temp", "alias": "p95", "percentile": 95.0},
            {"fn": "count"},
        ],
        "groupBy": ["station"],
        "fill": "null",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"columns": "temp"},
        {"aggregates": "avg:temp"},
        {"every": timedelta(milliseconds=1)},
        {"every": "often"},
        {"filters": [("temp",)]},
        {"filters": [("temp", ">", 1, 2)]},
    ],
)
def test_arguments_of_another_form_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        question(**arguments)


def test_pauses_grow_are_spread_and_end() -> None:
    retries = Retries(attempts=5, seconds=30, base=1, most=8)
    assert [retries.pause(attempt, None, draw=lambda: 1.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 8]
    assert retries.pause(3, None, draw=lambda: 0.25) == 1
    assert retries.pause(1, 7.0, draw=lambda: 0.5) == 7.5
    assert retries.goes_on(4, elapsed=20, pause=10)
    assert not retries.goes_on(5, elapsed=0, pause=0)
    assert not retries.goes_on(1, elapsed=20, pause=10.1)


def test_what_a_service_asks_for() -> None:
    now = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("3") == 3
    assert retry_after("Mon, 01 Jan 2024 12:00:05 GMT", now=now) == 5
    assert retry_after("Mon, 01 Jan 2024 11:00:00 GMT", now=now) == 0
    assert retry_after(None) is retry_after("soon") is retry_after("") is None


def test_buckets_may_follow_the_clocks_of_a_zone() -> None:
    asked = question(every="1d", timezone="Europe/Berlin", aggregates="count")["downsample"]
    assert (asked["intervalUnit"], asked["timezone"]) == ("day", "Europe/Berlin")
    with pytest.raises(InputError, match="need every"):
        question(timezone="Europe/Berlin")
