"""Stopping what is computed: on demand, and when it has taken too long."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG = logging.getLogger(__name__)
_FEW = 1_000


class Cancellable:
    """Stops what computes in another thread, for as long as it may be stopped."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop: Callable[[], None] | None = stop
        self._lock = threading.Lock()

    def interrupt(self) -> None:
        """Stop it now; nothing once it has been let go."""
        with self._lock:
            if self._stop is not None:
                self._stop()

    def let_go(self) -> None:
        """From now on nothing is stopped."""
        with self._lock:
            self._stop = None


class TimeLimit:
    """Interrupts what computes when it has taken too long, over all its turns together.

    `interrupt`: called in a thread that all time limits of a process share, so it must not wait. `seconds`: that computing may
    take; the time between two turns does not count.
    """

    def __init__(self, interrupt: Callable[[], None], seconds: float) -> None:
        self._interrupt, self._left = interrupt, seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """One turn of computing."""
        started = time.monotonic()
        timer = later(max(self._left, 0.0), self._interrupt)
        try:
            yield
        finally:
            timer.let_go()
            self._left -= time.monotonic() - started


def later(seconds: float, work: Callable[[], None]) -> Cancellable:
    """Do something that does not wait for anything after so many seconds, unless it is let go before."""
    return _alarms().set(seconds, work)


class _Alarms:
    """A thread that does things when their time has come: one for each of them costs more than a small statement."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, _Alarm]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def set(self, seconds: float, work: Callable[[], None]) -> Cancellable:
        alarm, at = _Alarm(work), time.monotonic() + seconds
        with self._changed:
            if len(self._waiting) > _FEW and sum(one.is_off for _, _, one in self._waiting) > len(self._waiting) // 2:
                self._waiting = [one for one in self._waiting if not one[2].is_off]
                heapq.heapify(self._waiting)
            is_first = not self._waiting or at < self._waiting[0][0]
            heapq.heappush(self._waiting, (at, next(self._numbers), alarm))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="time-limits", daemon=True)
                self._thread.start()
            elif is_first:
                self._changed.notify()
        return alarm

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or self._waiting[0][0] > time.monotonic():
                    self._changed.wait(max(self._waiting[0][0] - time.monotonic(), 0.0) if self._waiting else None)
                _, _, alarm = heapq.heappop(self._waiting)
            try:
                alarm.interrupt()
            except Exception:  # whose it is notices that it was not stopped; others hang on this thread
                LOG.exception("what had taken too long could not be stopped")


class _Alarm(Cancellable):
    @property
    def is_off(self) -> bool:
        return self._stop is None


_shared = _Alarms()


def _alarms() -> _Alarms:
    global _shared
    if _shared.process != os.getpid():
        _shared = _Alarms()
    return _shared
