"""Looking at something slow beside the requests: one look at a time, at most so often, and nobody waits for it long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundPoller(Generic[T]):
    """`every`: seconds that a finding holds. `patience`: seconds to wait for a new one. What `look` raises ends that look."""

    def __init__(self, look: Callable[[], T], *, every: float, patience: float, name: str) -> None:
        self._look, self._every, self._patience, self._name = look, every, patience, name
        self._lock = threading.Lock()
        self._found: T | None = None
        self._at = float("-inf")
        self._thread: threading.Thread | None = None

    def newest(self) -> T | None:
        """The newest finding, also when a newer one takes too long; None as long as there was none."""
        self._wait()
        with self._lock:
            return self._found

    def at_hand(self) -> T | None:
        """The finding that is there, while a newer one may be looked for; only the first is waited for."""
        if self._begun() is not None and self._found is None:
            self._wait()
        with self._lock:
            return self._found

    def in_time(self) -> T | None:
        """The newest finding; None when looking takes too long, or failed."""
        return self.newest() if self._wait() else None

    def _wait(self) -> bool:
        """Look if that is due, and wait for the look; whether it is done."""
        thread = self._begun()
        if thread is None:
            return True
        thread.join(self._patience)
        return not thread.is_alive()

    def _begun(self) -> threading.Thread | None:
        """The look that is under way, begun if it is due."""
        with self._lock:
            if self._thread is None and time.monotonic() - self._at > self._every:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            return self._thread

    def _run(self) -> None:
        found = None
        try:
            found = self._look()
        finally:
            with self._lock:
                self._found, self._at, self._thread = found, time.monotonic(), None
