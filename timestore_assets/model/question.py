"""What a person asks of one dataset, as a frozen value, and how texts become lengths of buckets and ways to fill them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_duration

Function = Literal["avg", "min", "max", "sum", "median", "count", "count_distinct", "first", "last", "stddev", "percentile"]
FUNCTIONS: tuple[Function, ...] = (
    "avg",
    "min",
    "max",
    "sum",
    "median",
    "count",
    "count_distinct",
    "first",
    "last",
    "stddev",
    "percentile",
)
SPELLINGS: Mapping[str, Function] = MappingProxyType(
    {"mean": "avg", "average": "avg", "std": "stddev", "stddev_samp": "stddev", "nunique": "count_distinct"}
)
"""Other names that people know functions by."""

Calendar = Literal["week", "month", "quarter", "year"]
Fill = Literal["null", "previous", "linear", "zero"]
FILLS: tuple[Fill, ...] = ("null", "previous", "linear", "zero")
"""What figures a bucket without rows gets: null · the last one before it in its group · on a straight line between its neighbours
(none before the first and after the last) · 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Months:
    """So many calendar months, counted from January 2000."""

    number: int


Every = timedelta | Calendar | Months
"""Length of a bucket. Fixed lengths are aligned to Monday 2000-01-03 00:00 UTC, so hours, days and weeks start where one
expects; `week` starts on Monday, `month`, `quarter` and `year` follow the calendar."""

_CALENDAR: tuple[Calendar, ...] = ("week", "month", "quarter", "year")
_FIXED = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """One figure per bucket and group."""

    #: `first` and `last` go by the dataset's time and skip nulls; `stddev` is the sample's.
    fn: Function
    #: None only for `count`, which then counts rows; otherwise non-null values.
    column: str | None = None
    #: 0 to 100, interpolated, for `percentile` only.
    percentile: float | None = None
    #: Name in the answer.
    alias: str = ""

    @property
    def name(self) -> str:
        """Name of the figure in the answer, for instance `avg_temp`, `p99_9_temp` or `count`."""
        if self.alias:
            return self.alias
        fn = f"p{self.percentile!r}".removesuffix(".0").replace(".", "_") if self.fn == "percentile" else self.fn
        return f"{fn}_{self.column}" if self.column else fn


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question to one dataset."""

    dataset: str
    #: Aware; `[start, end)`, None = unbounded.
    start: datetime | None = None
    end: datetime | None = None
    #: None = all visible ones.
    columns: tuple[str, ...] | None = None
    #: A SQL boolean expression over the columns.
    where: str | None = None
    #: Bucket length; needs `aggregates`.
    every: Every | None = None
    #: IANA zone whose clocks cut the buckets, UTC when None; times of the answer are in UTC all the same.
    timezone: str | None = None
    aggregates: tuple[Aggregate, ...] = ()
    group_by: tuple[str, ...] = ()
    #: Buckets without rows are in the answer too, for each group that has rows; over the range, where it is unbounded from the
    #: first or to the last bucket with rows.
    fill: Fill | None = None
    #: At most so many rows of the answer: the earliest ones, or with `descending` the latest.
    limit: int | None = None
    #: The latest rows or buckets come first.
    descending: bool = False
    #: Manifest version to answer from, None = newest.
    as_of: int | None = None


_MONTHS = {"mo": 1, "q": 3, "y": 12}
_OF_MONTHS = re.compile(r"([0-9]{1,4})\s*(mo|q|y)")
_ONE: Mapping[int, Calendar] = MappingProxyType({1: "month", 3: "quarter", 12: "year"})


def parse_every(text: str) -> Every:
    """A bucket length: `30s`, `15m`, `1h`, `7d`, `2w`, or by the calendar `3mo`, `1q`, `1y`, or a unit's name (`day`, `month`).

    Raises:
        InputError: the text is none of these.
    """
    text = text.strip().lower()
    if text in _CALENDAR:
        return text
    if text in _FIXED:
        return _FIXED[text]
    if (match := _OF_MONTHS.fullmatch(text)) and (number := int(match[1]) * _MONTHS[match[2]]):
        return _ONE.get(number) or Months(number=number)
    try:
        every = parse_duration(text)
    except InputError:
        every = timedelta(0)
    if every <= timedelta(0) or text.endswith("y"):
        raise InputError(f"{text!r} is no bucket length; write for instance 15m, 1h, 1d, 2w, week, month, 3mo, year or 1y")
    return every


def parse_fill(text: str) -> Fill:
    """How buckets without rows are filled; InputError when the text is none of `FILLS`."""
    if text not in FILLS:
        raise InputError(f"{text!r} is no way to fill gaps; write one of {', '.join(FILLS)}")
    return text
