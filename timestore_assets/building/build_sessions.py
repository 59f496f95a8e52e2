"""The catalog sessions of a builder: one a dataset, kept over many partitions."""

from __future__ import annotations

from datetime import timedelta

from timestore_assets.catalog.lease_keeper import HeldSession, LeaseKeeper


class BuildSessions:
    """Sessions that keep announced files from being collected before their commit.

    Beginning one is a transaction, so it is not done for each of hundreds of small partitions; one whose heartbeat is old may
    have been taken for dead, so it is not used any more.
    """

    def __init__(self, keeper: LeaseKeeper, *, holder: str, ttl: timedelta) -> None:
        self._keeper, self._holder, self._ttl = keeper, holder, ttl
        self._open: dict[int, HeldSession] = {}

    def of(self, dataset_id: int) -> int:
        """Id of a session of that dataset which is alive."""
        found = self._open.get(dataset_id)
        if found is None or not found.is_held:
            self.end(dataset_id)
            found = self._keeper.session(dataset_id, "build", holder=self._holder, ttl=self._ttl)
            self._open[dataset_id] = found
        return found.id

    def end(self, dataset_id: int) -> None:
        """End the session of a dataset, if there is one."""
        if found := self._open.pop(dataset_id, None):
            found.release()
