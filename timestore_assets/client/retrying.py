"""When a request is sent again, and after what pause."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED = frozenset({429, 502, 503, 504})
"""Statuses that later tries can change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How stubborn a client is.

    `attempts`: how often a request is sent at most. `seconds`: after so long it is not sent again. `base`, `most`: seconds that
    the first pause and the longest one last at most; each is drawn between nothing and twice the one before ("full jitter", so
    that clients which failed together don't return together). A `Retry-After` is waited for in full.
    """

    attempts: int = 8
    seconds: float = 120.0
    base: float = 0.2
    most: float = 10.0

    def pause(self, attempt: int, asked: float | None, *, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1). `asked`: what the service asked for, if it did."""
        jittered = draw() * min(self.most, self.base * 2.0 ** (attempt - 1))
        return jittered if asked is None else asked + draw() * self.base

    def goes_on(self, attempt: int, *, elapsed: float, pause: float) -> bool:
        """Whether to try again after so many failures and seconds, and this pause."""
        return attempt < self.attempts and elapsed + pause <= self.seconds


def retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` header asks for, given in seconds or as a date; None when it says neither."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())
