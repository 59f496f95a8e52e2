"""Times as the catalog stores them: whole microseconds since 1970 in UTC, the same on every database."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from timestore_assets.model.window import utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = 2**31 * 1_000_000
"""Until 2038 a float of seconds is exact to the microsecond, and twice as fast, which planning over many segments feels."""
_from_timestamp = datetime.fromtimestamp


def to_micros(instant: datetime) -> int:
    """Exact, unlike `timestamp()`, whose float loses microseconds far from 1970."""
    return (utc(instant) - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    if 0 <= micros < _EXACT:
        return _from_timestamp(micros / 1_000_000, UTC)
    return EPOCH + timedelta(microseconds=micros)


def optional_time(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def optional_micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def duration_micros(duration: timedelta) -> int:
    return duration // _MICROSECOND


def wall_clock() -> int:
    """Now, by this machine's clock."""
    return time.time_ns() // 1000


def later(now: int, ttl: timedelta) -> int:
    """The moment so long after now."""
    return now + duration_micros(ttl)
