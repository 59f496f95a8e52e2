"""One pin for all who read a dataset's newest version in this process, kept for the next one: each pin is a write and its sync.

It is renewed for as long as somebody reads, and given back when nobody has for a while, or when there is a newer version and
the last reader of this one has gone. A reader asks the catalog which version is the newest, which is a read of one row.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.snapshot_pin import PIN_TTL, SnapshotPin

IDLE_SECONDS = 30.0
"""How long a pin is kept that nobody uses; also how often that is looked at."""


class HeldVersion:
    """A version that can be read until it is released. `version`, `warnings`, `confirm`: as a `SnapshotPin`'s."""

    def __init__(self, pin: SnapshotPin, let_go: Callable[[], None]) -> None:
        self._pin, self._let_go = pin, let_go
        self._lock, self._is_released = threading.Lock(), False

    @property
    def version(self) -> int:
        return self._pin.version

    @property
    def warnings(self) -> Sequence[str]:
        return self._pin.warnings

    def confirm(self) -> None:
        self._pin.confirm()

    def renew_if_due(self) -> None:
        """See that it can still be read, as a reader does who goes on; errors as a `SnapshotPin`'s."""
        self._pin.renew_if_due()

    def release(self) -> None:
        """Let go of it; doing it again is fine."""
        with self._lock:
            was_released, self._is_released = self._is_released, True
        if not was_released:
            self._let_go()


class KeptPin(SnapshotPin):
    """A pin that several readers share. It ends by itself when nobody has used it for a while, or one reader for too long."""

    _users = 0
    _used = 0.0
    _is_retired = False

    def enter(self) -> bool:
        """One more reads; False when it can't be read by this pin any more."""
        with self._counting:
            if self._is_retired or self.risk or not self.is_held:
                return False
            self._users, self._used = self._users + 1, self._clock()
            return True

    def leave(self) -> None:
        """One reads no more."""
        with self._counting:
            self._users, self._used = self._users - 1, self._clock()
            is_over = self._is_retired and not self._users
        if is_over:
            self.release()

    def retire(self) -> None:
        """Nobody else is to enter; whoever reads goes on."""
        with self._counting:
            self._is_retired = True
            is_over = not self._users
        if is_over:
            self.release()

    def renew_if_due(self) -> None:
        """One of those who read it goes on."""
        with self._counting:
            self._used = self._clock()
        super().renew_if_due()

    def _lasts_from(self, sent: float) -> None:
        if not hasattr(self, "_counting"):
            self._counting = threading.Lock()
        super()._lasts_from(sent)
        self._due = sent + IDLE_SECONDS

    def _renewed(self) -> bool:
        with self._counting:
            unused = self._clock() - self._used
            # as long as a reader's own pin would last that nothing renews
            if unused < (PIN_TTL.total_seconds() if self._users else IDLE_SECONDS):
                return super()._renewed()
            self._is_retired = True
        self.release()
        return False


class KeptPins:
    """Gives readers the newest version of a dataset. Thread-safe. Close it: what is being read stays until it is released."""

    def __init__(self, catalog: Catalog, *, holder: str) -> None:
        self._catalog, self._holder = catalog, holder
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._process, self._closed, self._in_use = os.getpid(), False, 0
        self._kept: dict[int, KeptPin] = {}
        self._keeper = LeaseKeeper(self._catalog)

    def take(self, dataset_id: int) -> HeldVersion:
        """The newest version, held until it is released; errors as `SnapshotPin`."""
        newest = self._catalog.versions.newest(dataset_id)
        with self._lock:
            if self._process != os.getpid():
                self._begin()  # after a fork: the pins, and the thread that renews them, are the parent's
            kept = self._kept.get(dataset_id)
            if kept is not None and kept.version == newest and kept.enter():
                return self._held(kept)
        pin = KeptPin(self._catalog, dataset_id, version=None, holder=self._holder)
        if not pin.enter():
            return HeldVersion(pin, pin.release)  # there is none, since the catalog takes no writes
        with self._lock:
            before = self._kept.pop(dataset_id, None)
            self._keeper.keep(pin)
            if not self._closed:
                self._kept[dataset_id] = pin
            held = self._held(pin)
        if before is not None:
            before.retire()
        if self._closed:
            pin.retire()
        return held

    def let_go(self) -> None:
        """Give back what nobody reads now, so that it can be collected."""
        with self._lock:
            kept, self._kept = list(self._kept.values()), {}
        for one in kept:
            one.retire()

    def close(self) -> None:
        self._closed = True
        self.let_go()
        self._end_if_unused()

    def _held(self, pin: KeptPin) -> HeldVersion:
        self._in_use += 1

        def let_go() -> None:
            pin.leave()
            with self._lock:
                self._in_use -= 1
            self._end_if_unused()

        return HeldVersion(pin, let_go)

    def _end_if_unused(self) -> None:
        if self._closed and not self._in_use:
            self._keeper.close()
