"""What a person asks of one dataset, as a frozen value, and how the command line's texts become one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_duration

Function = Literal["avg", "min", "max", "sum", "median", "count", "count_distinct", "first", "last", "percentile"]
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
    "percentile",
)

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
_AGGREGATE = re.compile(
    r"""\s*(?P<fn>[a-z_]+)\s*(?:\(\s*(?P<argument>[^()]*?)\s*\))?\s*
        (?::\s*(?P<column>"(?:[^"]|"")+"|[^\s"]+)\s*)?
        (?:\bas\s+(?P<alias>"(?:[^"]|"")+"|[^\s"]+)\s*)?""",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """One figure per bucket and group.

    `column`: None only for `count`, which then counts rows; otherwise non-null values. `percentile`: 0 to 100, interpolated,
    for `percentile` only. `first` and `last` go by the dataset's time and skip nulls. `alias`: name in the answer.
    """

    fn: Function
    column: str | None = None
    percentile: float | None = None
    alias: str = ""

    @property
    def name(self) -> str:
        """Name of the figure in the answer, for instance `avg_temp`, `p99_9_temp` or `count`."""
        if self.alias:
            return self.alias
        fn = f"p{self.percentile:g}".replace(".", "_") if self.fn == "percentile" else self.fn
        return f"{fn}_{self.column}" if self.column else fn


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question to one dataset.

    `start`, `end`: aware, `[start, end)`, None = unbounded. `columns`: None = all visible ones. `where`: a SQL boolean
    expression over the columns. `every`: bucket length; needs `aggregates`. `fill`: buckets without rows are in the answer too,
    for each group that has rows; over the range, where it is unbounded from the first or to the last bucket with rows.
    `limit`: at most so many rows of the answer, the earliest ones. `as_of`: manifest version to answer from, None = newest.
    """

    dataset: str
    start: datetime | None = None
    end: datetime | None = None
    columns: tuple[str, ...] | None = None
    where: str | None = None
    every: Every | None = None
    aggregates: tuple[Aggregate, ...] = ()
    group_by: tuple[str, ...] = ()
    fill: Fill | None = None
    limit: int | None = None
    as_of: int | None = None


def parse_every(text: str) -> Every:
    """A bucket length: `30s`, `15m`, `1h`, `7d`, `2w`, or `hour`, `day`, `week`, `month`, `quarter`, `year`.

    Raises:
        InputError: the text is none of these.
    """
    text = text.strip().lower()
    if text in _CALENDAR:
        return text
    if text in _FIXED:
        return _FIXED[text]
    try:
        every = parse_duration(text)
    except InputError:
        every = timedelta(0)
    if every <= timedelta(0) or text.endswith("y"):
        raise InputError(f"{text!r} is no bucket length; write for instance 15m, 1h, 1d, 2w, week, month or year")
    return every


def parse_fill(text: str) -> Fill:
    """How buckets without rows are filled; InputError when the text is none of `FILLS`."""
    if text not in FILLS:
        raise InputError(f"{text!r} is no way to fill gaps; write one of {', '.join(FILLS)}")
    return text


def parse_aggregates(text: str) -> tuple[Aggregate, ...]:
    """Aggregates as the command line takes them: `avg:temp,max:temp,count,percentile(95):temp,first:temp as opening`.

    A column name with a space, a comma or a quote in it goes in double quotes, as in SQL.

    Raises:
        InputError: the text is not of that form, or names a function that there is not.
    """
    return tuple(_aggregate(part) for part in _split(text))


def _split(text: str) -> list[str]:
    """Parts between commas that are neither in parentheses nor in double quotes."""
    parts = re.findall(r'(?:"(?:[^"]|"")*"|\([^()]*\)|[^,])+|(?<=,)(?=,|$)|^(?=,|$)', text)
    if any(not part.strip() for part in parts):
        raise InputError("an aggregate is empty; write them like avg:temp,max:temp,count")
    return parts


def _aggregate(text: str) -> Aggregate:
    match = _AGGREGATE.fullmatch(text)
    if not match:
        raise InputError(f"{text.strip()!r} is no aggregate; write for instance avg:temp or percentile(95):temp as p95")
    fn, column, alias = match["fn"], _unquote(match["column"]), _unquote(match["alias"])
    if fn not in FUNCTIONS:
        raise InputError(f"there is no aggregate {fn!r}; there are {', '.join(FUNCTIONS[:-1])} and percentile(p)")
    if (match["argument"] is not None) != (fn == "percentile"):
        raise InputError(
            f"{fn} takes {'a percentage, for instance percentile(95):temp' if fn == 'percentile' else 'no argument'}"
        )
    if column is None and fn != "count":
        raise InputError(f"{fn} needs a column, for instance {text.strip()}:temp")
    percentile = _percentage(match["argument"]) if fn == "percentile" else None
    return Aggregate(fn=cast(Function, fn), column=column, percentile=percentile, alias=alias or "")


def _percentage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InputError(f"percentile({text}) is not possible; the percentage is between 0 and 100")
    return value


def _unquote(name: str | None) -> str | None:
    if name is None or not name.startswith('"'):
        return name
    return name[1:-1].replace('""', '"')
