"""Landing's progress as lines of a run's log."""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg

from timestore_assets.landing.report import FileReport

LOG_SECONDS = 5.0


class LoggedProgress:
    """One line at a file's beginning and end, and one every few seconds of all files; implements `landing.report.Progress`.

    `total_bytes`: of all files, so that the time left can be told; 0 when it is not known.
    """

    def __init__(self, log: dg.DagsterLogManager, *, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._total, self._clock = log, total_bytes, clock
        self._started = self._said = clock()
        self._bytes: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    def file_started(self, address: str, size_bytes: int) -> None:
        """See `Progress`."""
        self._log.info(f"landing {address} ({size_bytes:,} bytes)")

    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """See `Progress`."""
        self._bytes[address], self._rows[address] = bytes_read, rows
        now = self._clock()
        if now - self._said >= LOG_SECONDS:
            self._said = now
            self._log.info(f"{address}: {rows:,} records, {bytes_read:,} bytes so far; {self._all(now - self._started)}")

    def file_done(self, report: FileReport) -> None:
        """See `Progress`."""
        counters = report.counters
        self._bytes[report.address] = report.bytes
        self._log.info(
            f"{report.address}: {report.state}; read {counters.read:,}, landed {counters.landed:,}, "
            f"duplicates {counters.duplicates:,}, dead letters {counters.dead_letters:,}"
        )

    def _all(self, seconds: float) -> str:
        done, rows = sum(self._bytes.values()), sum(self._rows.values())
        text = f"{rows:,} records at {rows / max(seconds, 0.001):,.0f}/s in all"
        if not self._total or not done:
            return text
        left = max(self._total - done, 0) * seconds / done
        return f"{text}, {min(done / self._total, 1):.0%} of {self._total:,} bytes, about {left:,.0f} s left"
