"""What a session on topics is asked to do, and what it says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from timestore_assets.catalog.records import Counters, LostRange, SchemaChange

Ending = Literal["caught_up", "time_over", "stopped", "paused", "overtaken", "held_elsewhere", "lost_offsets"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionLimits:
    """When a session ends. `until_caught_up`: once all that was there at its start is landed and nothing has come for
    `linger`. `longest`: after that time in any case. `paused`: after so long without being allowed to go on.
    """

    until_caught_up: bool = True
    longest: timedelta | None = None
    linger: timedelta = timedelta(0)
    paused: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamReport:
    """What one session did. `lag`: records left when it ended, as far as known. `lost`: ranges that stop a topic partition.

    `reason`: why it ended, one phrase.
    """

    dataset: str
    source: str
    counters: Counters
    manifest_version: int
    partitions: tuple[str, ...]
    schema_changes: tuple[SchemaChange, ...]
    seconds: float
    commits: int
    ending: Ending
    reason: str
    lag: int | None = None
    watermark: datetime | None = None
    paused_seconds: float = 0.0
    lost: tuple[LostRange, ...] = ()
    missing_topics: tuple[str, ...] = ()
    dead_letter_reasons: Mapping[str, int] = field(default_factory=dict)


class StreamProgress(Protocol):
    """Told after each commit, and from time to time while landing is paused; from the session's thread, so be quick."""

    def committed(self, counters: Counters, lag: int | None, paused: str) -> None:
        """`counters`: of the session so far. `paused`: why it is paused, empty when it isn't."""
