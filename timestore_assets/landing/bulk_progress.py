"""What the threads of one landing call do, told as progress of files by one at a time."""

from __future__ import annotations

import threading
from collections import defaultdict

from timestore_assets.landing.report import FileReport, Progress


class ToldProgress:
    """Adds up the parts of each file. Thread-safe; tells nobody when `progress` is None."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._parts: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)

    def started(self, address: str, size_bytes: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress.file_started(address, size_bytes)

    def advanced(self, address: str, part: int, bytes_read: int, rows: int) -> None:
        """`bytes_read`, `rows`: of this part so far; what earlier calls did may be told as a part of its own."""
        if self._progress is None:
            return
        with self._lock:
            parts = self._parts[address]
            parts[part] = bytes_read, rows
            self._progress.advanced(address, sum(one for one, _ in parts.values()), sum(one for _, one in parts.values()))

    def done(self, report: FileReport) -> None:
        if self._progress is not None:
            with self._lock:
                self._parts.pop(report.address, None)
                self._progress.file_done(report)
