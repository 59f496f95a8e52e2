"""The catalog sessions of a builder: one a dataset, kept over many partitions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from timestore_assets.catalog.port import Catalog


@dataclass(slots=True)
class _Open:
    id: int
    beaten: float


class BuildSessions:
    """Sessions that keep announced files from being collected before their commit.

    Beginning one is a transaction, so it is not done for each of hundreds of small partitions; one whose heartbeat is old may
    have been taken for dead, so it is not used any more.
    """

    def __init__(self, catalog: Catalog, *, holder: str, ttl: timedelta) -> None:
        self._catalog, self._holder, self._ttl = catalog, holder, ttl
        self._open: dict[int, _Open] = {}

    def of(self, dataset_id: int) -> int:
        """Id of a session of that dataset which lives for at least half its time to come."""
        found = self._open.get(dataset_id)
        if found is not None and time.monotonic() - found.beaten < self._ttl.total_seconds() / 2:
            return found.id
        self.end(dataset_id)
        began = time.monotonic()
        session_id = self._catalog.begin_session(dataset_id, "build", holder=self._holder, ttl=self._ttl)
        self._open[dataset_id] = _Open(id=session_id, beaten=began)
        return session_id

    def beat(self, dataset_id: int) -> None:
        """Keep a session alive; called from the thread that renews the claim."""
        found = self._open.get(dataset_id)
        if found is not None:
            began = time.monotonic()
            self._catalog.heartbeat(found.id, ttl=self._ttl)
            found.beaten = began

    def end(self, dataset_id: int | None = None) -> None:
        """End the session of a dataset, or all."""
        for key in list(self._open) if dataset_id is None else [dataset_id]:
            if found := self._open.pop(key, None):
                self._catalog.end_session(found.id)
