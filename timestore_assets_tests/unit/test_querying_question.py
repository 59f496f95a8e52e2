"""Texts of the command line become a question, or an error that says what to write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timestore_assets.model.errors import InputError
from timestore_assets.querying.question import FILLS, Aggregate, Every, parse_aggregates, parse_every, parse_fill


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("hour", timedelta(hours=1)),
        (" 1d ", timedelta(days=1)),
        ("Day", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        ("week", "week"),
        ("month", "month"),
        ("quarter", "quarter"),
        ("year", "year"),
    ],
)
def test_bucket_lengths(text: str, every: Every) -> None:
    assert parse_every(text) == every


@pytest.mark.parametrize("text", ["", "h", "0h", "-1h", "1.5h", "1y", "fortnight", "1mo"])
def test_what_is_no_bucket_length_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no bucket length; write for instance 15m"):
        parse_every(text)


def test_aggregates_of_every_form() -> None:
    found = parse_aggregates(
        'avg:temp, max:temp,count,count:gust,percentile(99.9):temp,first:temp as opening,last:"a, b" as "x,y"'
    )
    assert found == (
        Aggregate(fn="avg", column="temp"),
        Aggregate(fn="max", column="temp"),
        Aggregate(fn="count"),
        Aggregate(fn="count", column="gust"),
        Aggregate(fn="percentile", column="temp", percentile=99.9),
        Aggregate(fn="first", column="temp", alias="opening"),
        Aggregate(fn="last", column="a, b", alias="x,y"),
    )
    assert [one.name for one in found] == ["avg_temp", "max_temp", "count", "count_gust", "p99_9_temp", "opening", "x,y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an aggregate is empty"),
        ("avg:temp,", "an aggregate is empty"),
        (",avg:temp", "an aggregate is empty"),
        ("avg:temp,,count", "an aggregate is empty"),
        ("avg", "avg needs a column, for instance avg:temp"),
        ("mean:temp", "there is no aggregate 'mean'; there are avg, min"),
        ("avg(temp)", "avg takes no argument"),
        ("percentile:temp", "percentile takes a percentage"),
        ("percentile(101):temp", "between 0 and 100"),
        ("percentile(x):temp", "between 0 and 100"),
        ("avg temp", "is no aggregate; write for instance avg:temp"),
        ("avg:temp as", "is no aggregate"),
        ("avg:temp; drop table x", "is no aggregate|needs a column"),
    ],
)
def test_what_is_no_aggregate_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_aggregates(text)


def test_ways_to_fill_gaps_have_names() -> None:
    assert [parse_fill(name) for name in FILLS] == list(FILLS)
    with pytest.raises(InputError, match="write one of null, previous, linear, zero"):
        parse_fill("nearest")
