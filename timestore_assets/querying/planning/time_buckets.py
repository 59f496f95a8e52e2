"""Buckets of time as SQL, in UTC or by the clocks of a zone, whose days last 23, 24 or 25 hours.

In a zone a bucket of more than an hour begins when the clocks first show, or pass, its beginning: of a time that they show twice
the first counts, one that they leave out is the moment of the change. Shorter buckets are cut by the clocks too, but an hour
that exists twice is two hours. Buckets without rows are put into an aggregated answer, with figures as one asks for.

How many buckets a range has, and the finest length that gives few enough of them, is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Calendar, Every, Fill, Months
from timestore_assets.model.types import literal, quote
from timestore_assets.querying.planning.aggregates import bucket_sql

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_TICK = timedelta(microseconds=1)
_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Buckets:
    """`every`: their length. `zone`: IANA name of the zone whose clocks cut them, None for UTC. Times are naive and in UTC."""

    every: Every
    zone: str | None = None

    @property
    def _by_clock(self) -> bool:
        return self.zone is not None and not (isinstance(self.every, timedelta) and self.every <= timedelta(hours=1))

    def grouped(self, moment: str) -> str:
        """SQL of what the rows of a bucket have in common; `start_of` makes its beginning of it."""
        if self.zone is None:
            return bucket_sql(self.every, moment)
        local = _wall_clock(moment, self.zone)
        start = bucket_sql(self.every, local)
        return start if self._by_clock else f"({moment} - ({local} - {start}))"

    def start_of(self, grouped: str) -> str:
        """SQL of a bucket's beginning over SQL of what `grouped` gave."""
        if self.zone is None or not self._by_clock:
            return grouped
        before, after = (self._instant("g", days) for days in (-1, 1))
        first = f"least({_valid(before, 'g', self.zone)}, {_valid(after, 'g', self.zone)})"
        return f"list_transform([{grouped}], lambda g: coalesce({first}, {before}))[1]"

    def _instant(self, local: str, days: int) -> str:
        """The time at which the clocks show `local`, if their offset is that of so many days later."""
        near = f"({local} + INTERVAL ({days}) DAY)"
        return f"({local} - ({_wall_clock(near, self.zone or 'UTC')} - {near}))"

    def start(self, moment: str) -> str:
        """SQL of the beginning of the bucket that a moment falls into."""
        return self.start_of(self.grouped(moment))

    def series(self, low: str, high: str, *, most: int | None) -> str:
        """SQL of a table `bucket` with the beginnings from one moment's bucket to another's; only the first `most` of them."""
        first, last = (self.grouped(moment) for moment in (low, high))
        if most is not None:
            # `least` passes over a NULL, which stands for no bucket at all
            last = f"CASE WHEN {last} IS NOT NULL THEN least({last}, {first} + {self._length(max(most, 1))}) END"
        made = f"SELECT unnest(generate_series({first}, {last}, {self._length(1)})) AS bucket"
        if self.zone is None:
            return made
        # clocks can leave out a whole bucket, and move its edges
        start = self.start_of("bucket") if self._by_clock else self.start("bucket")
        return f"SELECT DISTINCT {start} AS bucket FROM ({made})"

    @property
    def shortest(self) -> timedelta:
        """What a bucket lasts at least, clocks aside."""
        if isinstance(self.every, timedelta):
            return self.every
        if self.every == "week":
            return timedelta(weeks=1)
        return timedelta(days=28) * (self.every.number if isinstance(self.every, Months) else _MONTHS[self.every])

    def _length(self, number: int) -> str:
        if isinstance(self.every, timedelta):
            return f"to_microseconds({self.every // _TICK * number})"
        if self.every == "week":
            return f"to_days({7 * number})"
        months = self.every.number if isinstance(self.every, Months) else _MONTHS[self.every]
        return f"to_months({months * number})"


def parse_zone(text: str) -> str | None:
    """An IANA zone, None for UTC.

    Raises:
        InputError: there is no such zone.
    """
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"{text[:60]!r} is no time zone; write for instance Europe/Berlin or UTC") from None
    return None if text in _UTC else text


def _wall_clock(utc: str, zone: str) -> str:
    return f"timezone({literal(zone)}, timezone('UTC', {utc}))"


def _valid(instant: str, local: str, zone: str) -> str:
    return f"CASE WHEN {_wall_clock(instant, zone)} = {local} THEN {instant} END"


MOST_BUCKETS = 50_000_000
"""Buckets that an answer without a limit is filled up to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaps:
    """How gaps are filled. `start`, `end`: range of the question, aware and in UTC; None = as far as there are rows.

    A figure that is null in a bucket with rows counts as a gap too.
    """

    fill: Fill
    buckets: Buckets
    start: datetime | None
    end: datetime | None

    def filled(self, aggregated: str, *, series: Sequence[str], figures: Mapping[str, bool], limit: int | None) -> str:
        """SQL of the answer with every bucket, over SQL of the answer with those that have rows.

        `series`: names of the columns that say what a row is about, the time first. `figures`: names of the others in order,
        whether each is a number. `limit`: rows that are wanted, the earliest; later buckets are there only if they have rows.
        """
        time, groups = quote(series[0]), [quote(name) for name in series[1:]]
        names = ", ".join(groups)
        grid = f"SELECT * FROM buckets CROSS JOIN (SELECT DISTINCT {names} FROM found)" if groups else "FROM buckets"
        same = [f"grid.{time} = found.{time}", *(f"grid.{group} IS NOT DISTINCT FROM found.{group}" for group in groups)]
        keys = [f"grid.{name}" for name in (time, *groups)]
        values = [f"{self._value(f'found.{quote(name)}', keys)} AS {quote(name)}" for name in figures]
        return (
            f"WITH found AS MATERIALIZED ({aggregated}), buckets AS ({self._series(time, limit)}), grid AS ({grid}) "
            f"SELECT {', '.join([*keys, *values])} FROM grid LEFT JOIN found ON {' AND '.join(same)}"
        )

    def _series(self, time: str, limit: int | None) -> str:
        low = f"min({time})" if self.start is None else _timestamp(self.start)
        high = f"max({time})" if self.end is None else f"{_timestamp(self.end)} - {_interval(_TICK)}"
        if limit is None:
            said = f"these would be more than {MOST_BUCKETS:,} buckets; narrow the range, ask for longer ones, or give a limit"
            most = self.buckets.shortest // _TICK * MOST_BUCKETS
            high = f"CASE WHEN epoch_us({high}) - epoch_us({low}) > {most} THEN error({literal(said)}) ELSE {high} END"
        source = " FROM found" if self.start is None or self.end is None else ""
        ends = f"(SELECT {low} AS low, {high} AS high{source})"
        made = f"SELECT bucket AS {time} FROM {ends}, LATERAL ({self.buckets.series('low', 'high', most=limit)})"
        # a figure on a straight line needs the next one that there is, however far
        return made if limit is None else f"{made} UNION SELECT {time} FROM found"

    def _value(self, figure: str, keys: Sequence[str]) -> str:
        """SQL of a figure; `keys`: the bucket's time, then what names its group."""
        time, group = keys[0], f"PARTITION BY {', '.join(keys[1:])} " if keys[1:] else ""
        before = f"OVER ({group}ORDER BY {time} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        after = f"OVER ({group}ORDER BY {time} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"
        if self.fill == "previous":
            return f"last_value({figure} IGNORE NULLS) {before}"
        if self.fill == "zero":
            return f"coalesce({figure}, 0)"
        if self.fill == "linear":
            number = f"CAST({figure} AS DOUBLE)"
            moment = f"CASE WHEN {figure} IS NOT NULL THEN epoch_us({time}) END"
            first, last = f"last_value({number} IGNORE NULLS) {before}", f"first_value({number} IGNORE NULLS) {after}"
            since, until = f"last_value({moment} IGNORE NULLS) {before}", f"first_value({moment} IGNORE NULLS) {after}"
            return f"coalesce({number}, {first} + ({last} - {first}) * (epoch_us({time}) - {since}) / ({until} - {since}))"
        return figure


def _interval(length: timedelta) -> str:
    return f"to_microseconds({length // _TICK})"


def _timestamp(time: datetime) -> str:
    return f"TIMESTAMP '{time.replace(tzinfo=None).isoformat(sep=' ')}'"


Unit = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
_FIXED: dict[str, timedelta] = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_CALENDAR: dict[str, Calendar] = {"month": "month", "quarter": "quarter", "year": "year"}
_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketWidth:
    """A bucket length as people say it: 15 minutes, 1 month."""

    unit: Unit
    size: int = 1

    @property
    def every(self) -> Every:
        if self.unit in _FIXED:
            return self.size * _FIXED[self.unit]
        return _CALENDAR[self.unit] if self.size == 1 else Months(number=self.size * _MONTHS[self.unit])

    def __str__(self) -> str:
        return f"{self.size} {self.unit}{'' if self.size == 1 else 's'}"


LADDER: tuple[BucketWidth, ...] = (
    *(BucketWidth(unit="second", size=size) for size in (1, 5, 10, 15, 30)),
    *(BucketWidth(unit="minute", size=size) for size in (1, 5, 10, 15, 30)),
    *(BucketWidth(unit="hour", size=size) for size in (1, 3, 6, 12)),
    *(BucketWidth(unit=unit) for unit in ("day", "week", "month", "quarter", "year")),
)
"""Lengths that are proposed, finest first."""


def buckets(every: Every, start: datetime, end: datetime) -> int:
    """How many buckets meet `[start, end)`; both aware."""
    if end <= start:
        return 0
    last = end - _TICK
    if isinstance(every, timedelta):
        return (last - _ORIGIN) // every - (start - _ORIGIN) // every + 1
    if every == "week":
        return buckets(timedelta(weeks=1), start, end)
    months = every.number if isinstance(every, Months) else _MONTHS[every]
    return _month(last) // months - _month(start) // months + 1


def fitting(start: datetime, end: datetime, most: float) -> BucketWidth | None:
    """The finest of the ladder that has at most so many buckets in `[start, end)`; None when even years are too many."""
    return next((grain for grain in LADDER if buckets(grain.every, start, end) <= most), None)


def _month(time: datetime) -> int:
    time = time.astimezone(UTC)
    return (time.year - 2000) * 12 + time.month - 1
