"""Stopping what is computed: on demand, and when it has taken too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

    `interrupt`: called in a thread of its own. `seconds`: that computing may take; the time between two turns does not count.
    """

    def __init__(self, interrupt: Callable[[], None], seconds: float) -> None:
        self._interrupt, self._left = interrupt, seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """One turn of computing."""
        timer = threading.Timer(max(self._left, 0.0), self._interrupt)
        timer.daemon = True
        started = time.monotonic()
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._left -= time.monotonic() - started
