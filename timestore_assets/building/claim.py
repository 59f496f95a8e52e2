"""Claims of one builder on partitions: leases that a thread keeps alive while a build runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import ConflictError, UnavailableError

_BEATS_PER_LIFE = 3
_STOP_SECONDS = 30.0


class Claim:
    """A held lease on a partition. What is built under it is published only while it is held."""

    def __init__(self, catalog: Catalog, lease: Lease, *, ttl: timedelta, beat: Callable[[], None]) -> None:
        self._catalog, self._ttl, self._beat = catalog, ttl, beat
        self._lease: Lease | None = lease
        self._resource = lease.resource
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Make the lease last from now on.

        Raises:
            ConflictError: it has expired, so somebody else may be building.
        """
        with self._lock:
            if self._lease is not None:
                self._lease = self._catalog.renew(self._lease, ttl=self._ttl)
            if self._lease is None:
                raise ConflictError(f"the claim {self._resource} expired while building; another build may have taken it over")
        self._beat()

    def release(self) -> None:
        with self._lock:
            if self._lease is not None:
                self._catalog.release(self._lease)
                self._lease = None


class Claims:
    """Makes claims, one at a time, and renews the current one from a thread that starts with the first. Close it."""

    def __init__(self, catalog: Catalog, *, holder: str, ttl: timedelta) -> None:
        self._catalog, self._holder, self._ttl = catalog, holder, ttl
        self._current: Claim | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def held(self, resource: str, *, beat: Callable[[], None]) -> Iterator[Claim | None]:
        """Hold the lease on `resource` for the time of the `with`; None while somebody else holds it.

        `beat` is called whenever the lease has been renewed, mostly from the thread.
        """
        lease = self._catalog.acquire(resource, holder=self._holder, ttl=self._ttl)
        if lease is None:
            yield None
            return
        claim = Claim(self._catalog, lease, ttl=self._ttl, beat=beat)
        self._current = claim
        self._start()
        try:
            yield claim
        finally:
            self._current = None
            claim.release()

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_alive, name="timestore build claims", daemon=True)
            self._thread.start()

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._ttl.total_seconds() / _BEATS_PER_LIFE):
            claim = self._current
            try:
                if claim is not None:
                    claim.renew()
            except (ConflictError, UnavailableError):
                # lost for good, or the catalog is busy: the next beat may get through, and the commit decides in any case
                continue
