"""What ends by itself in the catalog unless it is renewed: leases and sessions, kept alive from a thread of their own.

One rule for all of it: it is renewed `BEATS_PER_TTL` times in its life; a beat that fails is made up by the next, as long as that
comes in time. Here it counts as held until a TTL after the last renewal was *sent*, which is never later than the catalog lets
it end, so that two processes can't both believe to hold the same. That is for not working in vain: what may be committed is
decided by the comparisons of the commit itself.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import LeaseLostError, TimestoreError

LOG = logging.getLogger(__name__)
TTL = timedelta(seconds=20)
"""How long files and intents of a session that died stay with it."""
BEATS_PER_TTL = 4
"""With four, three beats in a row may fail before anything is lost."""
_STOP_SECONDS = 30.0

Clock = Callable[[], float]


class Expiring(ABC):
    """What ends by itself unless it is renewed in time. Threads may share one; as a context manager it is released at the end.

    `retry_seconds`: how soon a renewal is tried again while it is not held; None: with the next beat.
    """

    def __init__(self, ttl: timedelta, *, retry_seconds: float | None = None, clock: Clock = time.monotonic) -> None:
        self._ttl, self._clock = ttl, clock
        self._beat_seconds = ttl.total_seconds() / BEATS_PER_TTL
        self._retry_seconds = self._beat_seconds if retry_seconds is None else retry_seconds
        self._lock = threading.RLock()
        self._held_until = self._due = clock()
        self.is_released = False

    @property
    def is_held(self) -> bool:
        """Whether it is ours for sure; False when it may have run out since the last renewal."""
        return self._clock() < self._held_until

    @property
    def due_in(self) -> float:
        """Seconds until it has to be renewed."""
        return self._due - self._clock()

    def renew(self) -> bool:
        """Make it last from now on; False when it is lost, or was released.

        Raises:
            TimestoreError: the catalog could not be asked; it lasts as before.
        """
        with self._lock:
            if self.is_released:
                return False
            sent = self._clock()
            # should it fail: as soon as after one that was lost
            self._due = sent + self._retry_seconds
            if not self._renewed():
                self._held_until = sent
                return False
            self._lasts_from(sent)
            return True

    def _lasts_from(self, sent: float) -> None:
        self._held_until = sent + self._ttl.total_seconds()
        self._due = sent + self._beat_seconds

    def check(self) -> None:
        """See that it is held, before what was done under it is committed. The catalog is asked only when it may have run out.

        Raises:
            LeaseLostError: somebody else holds it by now. UnavailableError: that can't be found out.
        """
        if not self.is_held and not self.renew():
            raise self._loss()

    def renew_if_due(self) -> None:
        """Renew it if that is due, where the work itself is to keep it alive and no thread; errors as `check` and `renew`."""
        if (self.due_in <= 0 or not self.is_held) and not self.renew():
            raise self._loss()

    def release(self) -> None:
        """Let go of it; doing it again is fine. What can't be given back, with the disk full by now, runs out by itself."""
        with self._lock:
            if self.is_released:
                return
            self.is_released = True
            self._held_until = self._clock()
            try:
                self._give_back()
            except TimestoreError as error:
                # what was done under it counts, or how that failed
                LOG.info("%s is left to run out: %s", self, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    @abstractmethod
    def _renewed(self) -> bool:
        """Renew it in the catalog; False when it is lost."""

    @abstractmethod
    def _give_back(self) -> None: ...

    @abstractmethod
    def _loss(self) -> TimestoreError:
        """What is raised when it is lost."""


_left: dict[str, list[Lease]] = {}
"""By catalog, leases that couldn't be given back, because the disk was full: who holds one next in this process does it."""
_left_lock = threading.Lock()


class HeldLease(Expiring):
    """A lease on a resource.

    One that ran out, as after an outage of the catalog, is taken again when nobody else has it. Whether somebody had it in
    between is seen by the commit, which compares what it builds on.
    """

    def __init__(
        self,
        catalog: Catalog,
        resource: str,
        *,
        holder: str,
        ttl: timedelta,
        retry_seconds: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(ttl, retry_seconds=retry_seconds, clock=clock)
        self._catalog, self._resource, self._holder = catalog, resource, holder
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return f"the lease {self._resource}"

    def _renewed(self) -> bool:
        if self._lease is not None:
            self._lease = self._catalog.leases.renew(self._lease, ttl=self._ttl)
        if self._lease is None:
            self._held_until = self._clock()
            self._lease = self._catalog.leases.acquire(self._resource, holder=self._holder, ttl=self._ttl)
        return self._lease is not None

    def _give_back(self) -> None:
        if self._lease is not None:
            _release(self._catalog, [self._lease])

    def _loss(self) -> TimestoreError:
        return LeaseLostError(f"{self} expired and somebody else holds it by now; what was done under it is not published")


class HeldLeases(Expiring):
    """Leases on several resources, which are kept and given back together: when one is lost, all are."""

    def __init__(self, catalog: Catalog, resources: Sequence[str], *, holder: str, ttl: timedelta, clock: Clock) -> None:
        super().__init__(ttl, clock=clock)
        self._catalog, self._lasting = catalog, ttl
        self._lasts_from(clock())
        self._leases = catalog.leases.acquire_each(resources, holder=holder, ttl=ttl)
        self.resources = frozenset(one.resource for one in self._leases)

    def __str__(self) -> str:
        return f"one of {len(self._leases)} leases"

    def _renewed(self) -> bool:
        return self._catalog.leases.renew_all(self._leases, ttl=self._lasting)

    def _give_back(self) -> None:
        try:
            self._catalog.leases.release_all(self._leases)
        except TimestoreError:
            _leave(self._catalog, self._leases)
            raise

    def _loss(self) -> TimestoreError:
        return LeaseLostError(f"{self} expired; what was done under them is not published")


def _release(catalog: Catalog, leases: list[Lease]) -> None:
    """Release leases; those that can't be are left to who holds one next."""
    while leases:
        try:
            catalog.leases.release(leases[0])
        except TimestoreError:
            _leave(catalog, leases)
            raise
        del leases[0]


def _leave(catalog: Catalog, leases: list[Lease]) -> None:
    with _left_lock:
        _left.setdefault(catalog.place, []).extend(leases)


class HeldSession(Expiring):
    """A session of ours. One whose heartbeat came late may come back: its intents and checkpoints decide what it may commit."""

    def __init__(self, catalog: Catalog, dataset_id: int, kind: str, *, holder: str, ttl: timedelta, clock: Clock) -> None:
        super().__init__(ttl, clock=clock)
        self._catalog = catalog
        self._lasts_from(clock())
        self.id = catalog.sessions.begin(dataset_id, kind, holder=holder, ttl=ttl)

    def __str__(self) -> str:
        return f"session {self.id}"

    def _renewed(self) -> bool:
        self._catalog.sessions.heartbeat(self.id, ttl=self._ttl)
        return True

    def _give_back(self) -> None:
        self._catalog.sessions.end(self.id)

    def _loss(self) -> TimestoreError:
        return LeaseLostError(f"{self} has ended")


E = TypeVar("E", bound=Expiring)


class LeaseKeeper:
    """Keeps leases and sessions alive, however long the work under them takes: all by one thread, which starts with the first.

    Close it, or use it as a context manager: then what is still held is released.
    """

    def __init__(self, catalog: Catalog, *, clock: Clock = time.monotonic) -> None:
        self._catalog, self._clock = catalog, clock
        self._lock = threading.Lock()
        self._kept: list[Expiring] = []
        self._thread: threading.Thread | None = None
        self._woken, self._closed = threading.Event(), False

    def hold(self, resource: str, *, holder: str, ttl: timedelta) -> HeldLease | None:
        """Hold a lease until it is released; None while somebody else does."""
        self._give_back_left()
        lease = HeldLease(self._catalog, resource, holder=holder, ttl=ttl, clock=self._clock)
        return self.keep(lease) if lease.renew() else None

    def hold_each(self, resources: Sequence[str], *, holder: str, ttl: timedelta) -> HeldLeases:
        """Hold leases on those of these resources that nobody else holds, until they are released together."""
        self._give_back_left()
        return self.keep(HeldLeases(self._catalog, resources, holder=holder, ttl=ttl, clock=self._clock))

    def _give_back_left(self) -> None:
        with _left_lock:
            left = _left.pop(self._catalog.place, [])
        try:
            _release(self._catalog, left)
        except TimestoreError as error:
            LOG.info("leases can't be given back yet: %s", error)

    def hold_when_free(self, resource: str, *, holder: str, ttl: timedelta, retry_seconds: float) -> HeldLease:
        """Hold a lease now, or from when it is free: what is not held is tried again every `retry_seconds`."""
        lease = HeldLease(self._catalog, resource, holder=holder, ttl=ttl, retry_seconds=retry_seconds, clock=self._clock)
        lease.renew()
        return self.keep(lease)

    def session(self, dataset_id: int, kind: str, *, holder: str, ttl: timedelta) -> HeldSession:
        """Begin a session, which is alive until it is released."""
        return self.keep(HeldSession(self._catalog, dataset_id, kind, holder=holder, ttl=ttl, clock=self._clock))

    def keep(self, held: E) -> E:
        """Keep something alive until it is released."""
        with self._lock:
            self._kept.append(held)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()
        self._woken.set()
        return held

    def renew_due(self) -> float | None:
        """Renew what is due; returns the seconds until something is again, None when nothing is held."""
        with self._lock:
            self._kept = [one for one in self._kept if not one.is_released]
            kept = tuple(self._kept)
        for one in kept:
            if one.due_in <= 0:
                _renew(one)
        return min((max(0.0, one.due_in) for one in kept), default=None)

    def close(self) -> None:
        """Release what is held, and end the thread."""
        with self._lock:
            kept, self._kept = self._kept, []
        for one in kept:
            one.release()
        self._closed = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._woken.clear()
            if self._closed:
                return
            self._woken.wait(self.renew_due())


def _renew(held: Expiring) -> None:
    """One beat. Whatever happens to it, the thread goes on: others hang on it, and the next beat may get through."""
    try:
        if not held.renew() and not held.is_released:
            LOG.debug("%s is somebody else's", held)
    except TimestoreError as error:
        LOG.debug("%s could not be renewed: %s", held, error)
    except Exception:
        LOG.exception("%s could not be renewed", held)
