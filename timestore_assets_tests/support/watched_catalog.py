"""A catalog whose calls are noted, take a while by a clock of ours, and fail while there is a fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import LeaseKeeper

_BEGIN = 1_700_000_000


@dataclass
class HandClock:
    """Seconds that pass when a test says so, for a keeper and for SQLite catalogs alike."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds

    def set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have catalogs go by it."""
        monkeypatch.setattr("timestore_assets.catalog.database.wall_clock", lambda: int((_BEGIN + self.seconds) * 1_000_000))


@dataclass
class Watch:
    """What a watched catalog shall do, and what it did. `delay`: seconds by `clock` that pass before and after each call."""

    clock: HandClock = field(default_factory=HandClock)
    fault: Exception | None = None
    delay: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)


class WatchedCatalog:
    """A catalog, or a part of one."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if isinstance(found, str):
            return found
        if not callable(found):
            return WatchedCatalog(found, self._watch)

        def call(*args: Any, **options: Any) -> Any:
            watch = self._watch
            watch.calls[name] += 1
            watch.clock.pass_by(watch.delay)
            if watch.fault is not None:
                raise watch.fault
            result = found(*args, **options)
            watch.clock.pass_by(watch.delay)
            return result

        return call


class StillKeeper(LeaseKeeper):
    """A keeper whose thread does nothing: a test says when the heart beats."""

    def _run(self) -> None: ...


def still_keeper(catalog: Catalog, watch: Watch) -> StillKeeper:
    watched: Any = WatchedCatalog(catalog, watch)
    return StillKeeper(watched, clock=watch.clock)
