"""What the service does again and again beside the requests, in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar


class BackgroundLoop(ABC):
    """Takes a turn every `pause_seconds`, from `start` to `close`."""

    #: Of its thread.
    name: ClassVar[str]
    #: How long `close` waits for a turn that is being taken.
    stop_seconds: ClassVar[float]

    def __init__(self, *, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; a turn that takes too long is left to end by itself."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(self.stop_seconds)

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_seconds):
            self._turn()

    @abstractmethod
    def _turn(self) -> None:
        """Do it once; what is raised ends the loop."""
