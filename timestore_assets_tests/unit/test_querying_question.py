"""Texts of the command line become a question, or an error that says what to write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import FILLS, Aggregate, Every, Months, parse_every, parse_fill


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
        ("1y", "year"),
        ("2Y", Months(number=24)),
        ("1mo", "month"),
        ("6mo", Months(number=6)),
        ("1q", "quarter"),
    ],
)
def test_bucket_lengths(text: str, every: Every) -> None:
    assert parse_every(text) == every


@pytest.mark.parametrize("text", ["", "h", "0h", "-1h", "1.5h", "0y", "fortnight", "0mo"])
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
    ("text", "expected"),
    [
        ("avg(CO2)", Aggregate(fn="avg", column="CO2")),
        ("MAX( adjusted CO2 ) as top", Aggregate(fn="max", column="adjusted CO2", alias="top")),
        ("max:adjusted CO2", Aggregate(fn="max", column="adjusted CO2")),
        ("mean:co2 (ppm) as of now", Aggregate(fn="avg", column="co2 (ppm)", alias="of now")),
        ("mean(co2 (ppm))", Aggregate(fn="avg", column="co2 (ppm)")),
        ("std:x", Aggregate(fn="stddev", column="x")),
        ("count(*)", Aggregate(fn="count")),
        ("count()", Aggregate(fn="count")),
        ("count(distinct x)", Aggregate(fn="count_distinct", column="x")),
        ("p95(temp)", Aggregate(fn="percentile", column="temp", percentile=95)),
        ("p99_9:temp", Aggregate(fn="percentile", column="temp", percentile=99.9)),
        ('percentile("a, b", 5)', Aggregate(fn="percentile", column="a, b", percentile=5)),
        ('first("a ""b"" (c)")', Aggregate(fn="first", column='a "b" (c)')),
    ],
)
def test_aggregates_as_in_sql_and_as_people_call_them(text: str, expected: Aggregate) -> None:
    assert parse_aggregates(f"{text}, count as n") == (expected, Aggregate(fn="count", alias="n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an aggregate is empty"),
        ("avg:temp,", "an aggregate is empty"),
        (",avg:temp", "an aggregate is empty"),
        ("avg:temp,,count", "an aggregate is empty"),
        ("avg", r"avg needs a column; write for instance avg:temp or avg\(temp\)"),
        ("maen:temp", "there is no aggregate 'maen'; did you mean mean?"),
        ("blub:temp", r"there are avg, min, .*stddev and percentile\(p\)"),
        ("avg()", r"write one column, for instance avg\(temp\)"),
        ("avg(a,b)", r'write one column, for instance avg\("a,b"\)'),
        ("avg(a):b", "in brackets and one behind a colon; write avg:b"),
        ("percentile:temp", r"percentile takes a percentage; write for instance percentile\(95\):temp"),
        ("percentile(temp)", r"write for instance percentile\(95\):temp"),
        ("percentile(95)", r"needs a column; write for instance percentile\(95\):temp"),
        ("percentile(101):temp", "between 0 and 100"),
        ("percentile(x):temp", "between 0 and 100"),
        ("p101:temp", "between 0 and 100"),
        ("avg temp", r"is no aggregate; write for instance avg:temp, avg\(temp\), .* or max:temp as warmest"),
        ("avg:temp as", "is no aggregate"),
        ('avg("temp', "is no aggregate"),
    ],
)
def test_what_is_no_aggregate_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_aggregates(text)


def test_ways_to_fill_gaps_have_names() -> None:
    assert [parse_fill(name) for name in FILLS] == list(FILLS)
    with pytest.raises(InputError, match="write one of null, previous, linear, zero"):
        parse_fill("nearest")
