"""A manifest version pinned against collection for as long as somebody reads it."""

from __future__ import annotations

import time
from datetime import timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.errors import UnavailableError

LEASE = timedelta(hours=1)
"""How long a version stays pinned when nothing renews it; an answer that is being read renews it."""


class Claim:
    """The pin. `version`: the manifest version it holds. `topics`: the checkpoints at exactly that version, if asked for."""

    def __init__(
        self,
        catalog: Catalog,
        dataset_id: int,
        *,
        version: int | None,
        holder: str,
        ttl: timedelta = LEASE,
        with_topics: bool = False,
    ) -> None:
        """Pin a version (None = newest); RefusedError when it has been collected or never was. `with_topics`: the newest."""
        self._catalog, self._ttl = catalog, ttl
        self.topics: list[TopicPartition] = []
        if with_topics:
            self.version, self._lease, self.topics = catalog.pin_with_topics(dataset_id, holder=holder, ttl=ttl)
        else:
            self.version, self._lease = catalog.pin(dataset_id, version=version, holder=holder, ttl=ttl)
        self._renewed = time.monotonic()

    def keep(self) -> None:
        """Renew the pin when a good part of its time is over.

        Raises:
            UnavailableError: it had expired, so files may have been collected.
        """
        if time.monotonic() - self._renewed < self._ttl.total_seconds() / 4:
            return
        renewed = self._catalog.renew(self._lease, ttl=self._ttl)
        if renewed is None:
            raise UnavailableError("reading this answer paused for so long that its segments may be gone; ask again")
        self._lease, self._renewed = renewed, time.monotonic()

    def release(self) -> None:
        """Let go of the version; its files may be collected from now on."""
        self._catalog.release(self._lease)
