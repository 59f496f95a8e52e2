"""What texts read, kept for the next time they are asked: parsing and checking costs as much as a small statement itself."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from cachetools import LRUCache

from timestore_assets.querying.sql.check import is_decided_by_values
from timestore_assets.querying.sql.tables_read import Asked, TablesRead

_MOST = 256
_MOST_TEXT = 10_000
"""Characters of a text that is kept; it bounds what is kept of it."""


class Readings:
    """Texts that were parsed and checked, each with what it may name, since that decides whether it may run. Thread-safe."""

    def __init__(self) -> None:
        self._known: LRUCache[Hashable, TablesRead] = LRUCache(_MOST)
        self._lock = threading.Lock()

    def find(self, asked: Asked) -> TablesRead | None:
        """What it reads, None when that has to be found out."""
        key = _key(asked)
        with self._lock:
            return None if key is None else self._known.get(key)

    def keep(self, asked: Asked, found: TablesRead) -> None:
        key = _key(asked)
        if key is not None:
            with self._lock:
                self._known[key] = found


def _key(asked: Asked) -> Hashable:
    """All that the check goes by; None for what is not kept."""
    if len(asked.text) > _MOST_TEXT:
        return None
    if asked.parameters is None:
        return asked.text, asked.datasets, asked.columns, None
    if is_decided_by_values(asked.parameters):
        return None
    return asked.text, asked.datasets, asked.columns, tuple(sorted(asked.parameters))
