"""How many buckets a range has, and the finest bucket length that gives few enough of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from timestore_assets.querying.question import Calendar, Every, Months

Unit = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
_FIXED: dict[str, timedelta] = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}
_CALENDAR: dict[str, Calendar] = {"month": "month", "quarter": "quarter", "year": "year"}
_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grain:
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


LADDER: tuple[Grain, ...] = (
    *(Grain(unit="second", size=size) for size in (1, 5, 10, 15, 30)),
    *(Grain(unit="minute", size=size) for size in (1, 5, 10, 15, 30)),
    *(Grain(unit="hour", size=size) for size in (1, 3, 6, 12)),
    *(Grain(unit=unit) for unit in ("day", "week", "month", "quarter", "year")),
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


def fitting(start: datetime, end: datetime, most: float) -> Grain | None:
    """The finest of the ladder that has at most so many buckets in `[start, end)`; None when even years are too many."""
    return next((grain for grain in LADDER if buckets(grain.every, start, end) <= most), None)


def _month(time: datetime) -> int:
    time = time.astimezone(UTC)
    return (time.year - 2000) * 12 + time.month - 1
