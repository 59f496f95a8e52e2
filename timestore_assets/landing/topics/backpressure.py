"""When landing topics has to wait for the rest: thresholds with hysteresis over what is unbuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from timestore_assets.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What waits behind landing."""

    deltas: int = 0
    """Unbuilt ones."""
    bytes: int = 0
    """Likewise."""
    builds: int = 0
    """Partitions that need a build."""
    commit_ms: int = 0
    """The last commit's time, from writing to done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Landing pauses at `high` and goes on at `low` or below."""

    high: int
    low: int

    def exceeded(self, value: int, *, paused: bool) -> bool:
        return value > self.low if paused else value >= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    deltas: Threshold
    bytes: Threshold
    builds: Threshold
    commit_ms: Threshold

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(
            deltas=Threshold(high=settings.backlog_high_deltas, low=settings.backlog_low_deltas),
            bytes=Threshold(high=settings.backlog_high_bytes, low=settings.backlog_low_bytes),
            builds=Threshold(high=settings.backlog_high_builds, low=settings.backlog_low_builds),
            commit_ms=Threshold(high=settings.backlog_high_commit_ms, low=0),
        )


def should_pause(backlog: Backlog, marks: Thresholds, *, paused: bool) -> str:
    """Why landing must pause, or must stay paused; empty when it may go on."""
    reasons, lows = [], []
    if marks.deltas.exceeded(backlog.deltas, paused=paused):
        reasons.append(f"{backlog.deltas:,} unbuilt deltas")
        lows.append(f"{marks.deltas.low:,} deltas")
    if marks.bytes.exceeded(backlog.bytes, paused=paused):
        reasons.append(f"{backlog.bytes / 1e6:,.0f} MB unbuilt")
        lows.append(f"{marks.bytes.low / 1e6:,.0f} MB")
    if marks.builds.exceeded(backlog.builds, paused=paused):
        reasons.append(f"{backlog.builds:,} partitions wait for a build")
        lows.append(f"{marks.builds.low:,} builds")
    # a slow commit is known only by committing: after a pause it is tried again
    if not paused and backlog.commit_ms >= marks.commit_ms.high:
        reasons.append(f"the last commit took {backlog.commit_ms / 1000:.1f} s")
    if not reasons:
        return ""
    ends = f"it goes on below {' and '.join(lows)}" if lows else "it is tried again after a pause"
    return f"{' and '.join(reasons)}; {ends}"
