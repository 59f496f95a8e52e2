"""How long topic partitions have had nothing more to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

K = TypeVar("K")


class IdleTimers(Generic[K]):
    """One clock for each topic partition: it runs while everything there is has been read, and begins anew with a record.

    `before`: quiet times of former sessions, which count. `monotonic`: seconds that no change of the wall clock moves.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._before: dict[K, timedelta] = {}
        self._since: dict[K, float] = {}

    def add(self, key: K, before: timedelta) -> None:
        self._before[key] = before

    def forget(self, keys: Iterable[K]) -> None:
        for key in keys:
            self._before.pop(key, None)
            self._since.pop(key, None)

    def moved(self, delivered: Iterable[K], at_end: Iterable[K]) -> None:
        """Records came from `delivered`; `at_end` have been read to their end after that."""
        now = self._monotonic()
        for key in delivered:
            if key in self._before:
                self._before[key] = timedelta(0)
                self._since.pop(key, None)
        for key in at_end:
            if key in self._before:
                self._since.setdefault(key, now)

    def behind(self, keys: Iterable[K]) -> None:
        """The brokers say that these have more to read, so they can deliver: their clocks begin anew when that is done."""
        for key in keys:
            if key in self._before:
                self._before[key] = timedelta(0)
                self._since.pop(key, None)

    def quiet(self) -> Mapping[K, timedelta]:
        now = self._monotonic()
        return {key: before + self._ran(key, now) for key, before in self._before.items()}

    def _ran(self, key: K, now: float) -> timedelta:
        return timedelta(seconds=now - self._since[key]) if key in self._since else timedelta(0)
