"""Trying again: how often or for how long, after which waits, and after which errors. One policy for whoever does it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from timestore_assets.model.errors import (
    CatalogReplacedError,
    ConflictError,
    CredentialsError,
    StorageFullError,
    UnavailableError,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """At most `attempts` tries within `seconds`, after waits that double. Without either it goes on for ever."""

    attempts: int | None = None
    """How many tries there are, the first one included."""
    seconds: float | None = None
    """How much time may go by, in waiting or in trying; a wait that would go beyond is not begun."""
    first_wait: float = 0.2
    longest_wait: float = 10.0
    jitter: float = 0.0
    """Which part of a wait chance may take away, so that those who failed together do not come back together."""
    retried: tuple[type[Exception], ...] = (UnavailableError,)
    """Errors that pass by themselves."""
    final: tuple[type[Exception], ...] = (StorageFullError, CredentialsError, CatalogReplacedError)
    """Of those, the ones that don't: waiting frees no disk, gives no credentials and brings no catalog back."""
    sleep: Callable[[float], None] = time.sleep

    def run(self, work: Callable[[], T]) -> T:
        """Do the work, again after errors that pass by themselves; what is raised at the end is the last of them."""
        tries = self.tries()
        next(tries, None)
        while True:
            try:
                return work()
            except self.final:
                raise
            except self.retried:
                if next(tries, None) is None:
                    raise

    def tries(self) -> Iterator[int]:
        """Numbers of the tries from 1, each after its wait, until there are no more: for loops that judge errors themselves."""
        began, waited, wait, number = time.monotonic(), 0.0, self.first_wait, 1
        while True:
            yield number
            pause = wait * random.uniform(1.0 - self.jitter, 1.0)  # noqa: S311 - jitter
            if number == self.attempts or self._is_over(max(waited, time.monotonic() - began) + pause):
                return
            if pause:
                self.sleep(pause)
            waited, wait, number = waited + pause, min(wait * 2, self.longest_wait), number + 1

    def _is_over(self, seconds: float) -> bool:
        return self.seconds is not None and seconds > self.seconds


OUTAGE = RetryPolicy(seconds=60.0, jitter=0.25)
"""For a catalog or a store that is away: long enough for a restart or a failover."""

CONFLICT = RetryPolicy(attempts=8, first_wait=0.0, retried=(ConflictError,), final=())
"""For what another session changed first, as the schema: it is done again from what is there now, at once."""
