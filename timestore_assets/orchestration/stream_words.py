"""What a session on topics says in its run's log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import dagster as dg

from timestore_assets.catalog.records import NO_COUNTS, Counters
from timestore_assets.landing.stream_report import StreamReport


@dataclass(kw_only=True)
class LatestWords:
    """The session's progress, written by its thread and read by the run's. Implements `StreamProgress`."""

    counters: Counters = NO_COUNTS
    lag: int | None = None
    paused: str = ""
    _said: int = 0
    _since: float = field(default_factory=time.monotonic)

    def committed(self, counters: Counters, lag: int | None, paused: str) -> None:
        self.counters, self.lag, self.paused = counters, lag, paused

    def line(self) -> str:
        """How far it is, and how quick it was since the last line."""
        now, read = time.monotonic(), self.counters.read
        rate = (read - self._said) / max(now - self._since, 0.001)
        self._said, self._since = read, now
        text = f"landed {self.counters.landed:,} of {read:,} read, {rate:,.0f}/s"
        if self.counters.dead_letters:
            text += f", dead letters {self.counters.dead_letters:,}"
        if self.lag is not None:
            text += f", lag {self.lag:,}"
        return f"{text}; paused: {self.paused}" if self.paused else text


def summary(log: dg.DagsterLogManager, report: StreamReport) -> None:
    """What the session did, why it ended, and what a person has to know."""
    counters = report.counters
    log.info(
        f"read {counters.read:,}, landed {counters.landed:,}, duplicates {counters.duplicates:,}, "
        f"dead letters {counters.dead_letters:,} in {report.commits:,} commits and {report.seconds:.1f} s; {report.reason}"
    )
    for lost in report.lost:
        log.warning(
            f"{lost.reason} ({lost.start:,} up to {lost.end:,}); nothing more of {lost.topic}/{lost.number} is landed until "
            f"`timestore stream {report.dataset} --accept-lost-offsets`, or `on_lost_offsets: continue` in the declaration"
        )
    for topic in report.missing_topics:
        log.warning(f"topic {topic} does not exist on this cluster")
    if report.paused_seconds:
        log.info(f"it was paused for {report.paused_seconds:.1f} s")
