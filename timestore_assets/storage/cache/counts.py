"""What a read cache has done: objects found and fetched, bytes fetched and bytes that were needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheCounts:
    """Sums since a cache was opened.

    `objects_found`: were there already, `objects_fetched`: were not. `fetched_bytes`: came over the network. `needed_bytes`: of
    those, what was asked for: the wanted columns and the footer of an object that is read by ranges, else the whole object.
    `objects_unkept`: were read without being kept, because they don't fit or the disk is full.
    """

    objects_found: int = 0
    objects_fetched: int = 0
    objects_unkept: int = 0
    fetched_bytes: int = 0
    needed_bytes: int = 0


class Counting:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = {one.name: 0 for one in fields(CacheCounts)}

    def add(self, **more: int) -> None:
        """Add to the sums of these names."""
        with self._lock:
            for name, value in more.items():
                self._sums[name] += value

    @property
    def counts(self) -> CacheCounts:
        with self._lock:
            return CacheCounts(**self._sums)
