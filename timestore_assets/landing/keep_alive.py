"""Heartbeats of a landing session and its file lease, from a thread of their own, however long a batch takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import TimestoreError

TTL = timedelta(seconds=20)
"""How long files and intents of a session that died stay with it."""
_BEATS_PER_TTL = 4
_LONGEST_BEAT_SECONDS = 30.0


@contextmanager
def kept_alive(catalog: Catalog, session_id: int, *, ttl: timedelta = TTL) -> Iterator[Heart]:
    """Keep a session, and leases handed to the heart, alive until the block ends."""
    heart = Heart(catalog, session_id, ttl)
    thread = threading.Thread(target=heart.run, name="landing-heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        heart.stop()
        thread.join(_LONGEST_BEAT_SECONDS)


class Heart:
    """Beats until it is stopped. A missed beat is made up by the next; a lost lease is found out by the commit's comparison."""

    def __init__(self, catalog: Catalog, session_id: int, ttl: timedelta) -> None:
        self._catalog, self._session_id, self._ttl = catalog, session_id, ttl
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Renew this lease too while the block runs, and release it at the end; threads may hold several of them."""
        with self._lock:
            self._leases[lease.resource] = lease
        try:
            yield
        finally:
            with self._lock:
                held = self._leases.pop(lease.resource)
            self._catalog.release(held)

    def run(self) -> None:
        while not self._stopped.wait(self._ttl.total_seconds() / _BEATS_PER_TTL):
            self._beat()

    def stop(self) -> None:
        self._stopped.set()

    def _beat(self) -> None:
        try:
            self._catalog.heartbeat(self._session_id, ttl=self._ttl)
            with self._lock:
                for resource, lease in self._leases.items():
                    self._leases[resource] = self._catalog.renew(lease, ttl=self._ttl) or lease
        except TimestoreError:
            return  # the catalog is away for now; the next beat tries again, and a commit will say so if it stays away
