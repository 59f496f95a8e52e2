"""Partition windows: how a time becomes a partition and a partition a key. All times are aware and in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from timestore_assets.model.errors import InputError

_DATE_KEY = "%Y-%m-%d"
_KEY_FORMATS = {"hour": "%Y-%m-%d-%H:%M", **dict.fromkeys(("day", "week", "month", "year"), _DATE_KEY)}
_KEY_PATTERN = re.compile(r"\d{4}-\d\d-\d\d(-\d\d:\d\d)?")


_FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(8000, 1, 1, tzinfo=UTC)
"""The end of a partition without one: later than any time that is taken, and early enough for every duration to be added."""


class Window(Enum):
    """The length of a partition. Weeks are ISO weeks (Monday); keys are those Dagster gives such partitions.

    `all`: one partition for everything, with the key `all`.
    """

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    ALL = "all"

    def __str__(self) -> str:
        return self.value

    def start_of(self, time: datetime) -> datetime:
        """Start of the window that holds `time`."""
        time = utc(time).replace(minute=0, second=0, microsecond=0)
        if self is Window.ALL:
            return _FIRST_TIME
        if self is Window.HOUR:
            return time
        time = time.replace(hour=0)
        if self is Window.WEEK:
            return time - timedelta(days=time.weekday())
        if self is Window.YEAR:
            return time.replace(month=1, day=1)
        return time.replace(day=1) if self is Window.MONTH else time

    def after(self, start: datetime) -> datetime:
        """Start of the next window, which is the (exclusive) end of the one that starts at `start`."""
        if self is Window.ALL:
            return _LAST_TIME
        if self is Window.YEAR:
            return start.replace(year=start.year + 1)
        if self is Window.MONTH:
            return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
        return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}[self.value]

    def before(self, start: datetime) -> datetime:
        """Start of the window before the one that starts at `start`; of that one itself when it is the only one."""
        return start if self is Window.ALL else self.start_of(start - timedelta(microseconds=1))

    def key_of(self, start: datetime) -> str:
        """The partition key of the window that starts at `start`."""
        if self is Window.ALL:
            return str(self)
        # strftime's %Y does not pad years below 1000 on every platform
        return f"{start.year:04d}" + start.strftime(_KEY_FORMATS[self.value][2:])

    def partition(self, time: datetime) -> Partition:
        """The partition that holds `time`."""
        start = self.start_of(time)
        return Partition(window=self, start=start)

    def parse_key(self, key: str) -> Partition:
        """The partition a key names.

        Raises:
            InputError: the key is not the start of such a window.
        """
        if self is Window.ALL and key == self.value:
            return Partition(window=self, start=_FIRST_TIME)
        try:
            if self is Window.ALL or not _KEY_PATTERN.fullmatch(key):
                raise ValueError(key)
            start = datetime.strptime(key, _KEY_FORMATS[self.value]).replace(tzinfo=UTC)
        except ValueError:
            raise InputError(f"{key!r} is not a {self} partition; write it like {self.example!r}") from None
        if self.start_of(start) != start:
            raise InputError(f"no {self} starts at {key!r}; the one that holds it is {self.partition(start).key!r}")
        return Partition(window=self, start=start)

    @property
    def example(self) -> str:
        return self.key_of(self.start_of(datetime(2013, 1, 7, tzinfo=UTC)))

    @property
    def key_format(self) -> str:
        """strftime pattern of the keys, as Dagster's time-window partitions take it; `all` has none."""
        return _KEY_FORMATS[self.value]

    def between(self, start: datetime, end: datetime) -> Iterator[Partition]:
        """Partitions that intersect `[start, end)`, in order."""
        current = self.start_of(start)
        if self is Window.ALL:
            yield from [Partition(window=self, start=current)] if start < end else []
            return
        while current < end:
            yield Partition(window=self, start=current)
            current = self.after(current)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Partition:
    """The time window `[start, end)` of a dataset."""

    window: Window
    start: datetime

    def __post_init__(self) -> None:
        utc(self.start)

    @property
    def end(self) -> datetime:
        return self.window.after(self.start)

    @property
    def key(self) -> str:
        return self.window.key_of(self.start)

    @property
    def path_name(self) -> str:
        """The key in a form that every file system and object store takes."""
        return self.key.replace(":", "")


def utc(time: datetime) -> datetime:
    """The same instant in UTC; a naive time is refused, because nobody can know which instant it is."""
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; times inside this project are aware")
    return time.astimezone(UTC)


_DURATION = re.compile(r"([0-9]{1,12})\s*(s|m|h|d|w|y)")
_LONGEST_DURATION = timedelta(days=1000 * 365)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def parse_duration(text: str) -> timedelta:
    """A duration such as `30s`, `10m`, `1h`, `1d`, `2w`, `5y` (a year counts 365 days).

    Raises:
        InputError: the text is no duration, or one of more than a thousand years.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text!r} is not a duration; write for instance 30s, 10m, 1h, 1d, 2w or 5y")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST_DURATION.total_seconds():
        raise InputError(f"{text!r} is longer than a thousand years; write a shorter one")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """A duration in its largest whole unit, as `parse_duration` reads it."""
    seconds = round(length.total_seconds())
    if not seconds:
        return "0s"
    unit = max((unit for unit, size in _UNITS.items() if seconds % size == 0), key=_UNITS.__getitem__)
    return f"{seconds // _UNITS[unit]}{unit}"


def parse_time(text: str) -> datetime:
    """An instant from ISO 8601 text; without a zone it is UTC.

    Raises:
        InputError: the text is no date or time.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{text!r} is not a time; write for instance 2013-01-01 or 2013-01-01T06:00:00Z") from None
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise InputError(f"{text!r} lies outside the years 1 to 9999 in UTC") from None


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with a `Z`; fractions only when there are some."""
    time = utc(time).replace(tzinfo=None)
    return time.isoformat(timespec="microseconds" if time.microsecond else "seconds") + "Z"
