"""What a session did so far, commit by commit, and what every report of a session says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, TypedDict

from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.model.counters import Counters


class Reported(TypedDict):
    """The fields of a `SessionReport` that a tally knows."""

    counters: Counters
    partitions: tuple[str, ...]
    schema_changes: tuple[SchemaChange, ...]


@dataclass(kw_only=True)
class Tally:
    """Grows with each commit; those of sessions, or of parts of one, add up with `+=`."""

    counters: Counters = field(default_factory=Counters)
    partitions: set[tuple[datetime, str]] = field(default_factory=set)
    """Start and key of those that got rows."""
    changes: list[SchemaChange] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason code."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Values that `columns: discard_value` left out, by column."""
    discarded: Counter[str] = field(default_factory=Counter)
    """Values that `types: discard_value` left out, by column."""
    segments: int = 0

    def __iadd__(self, other: Tally) -> Self:
        self.counters += other.counters
        self.partitions |= other.partitions
        self.changes += other.changes
        self.reasons.update(other.reasons)
        self.ignored.update(other.ignored)
        self.discarded.update(other.discarded)
        self.segments += other.segments
        return self

    def reported(self) -> Reported:
        """What a report of the session says of it."""
        return {
            "counters": self.counters,
            "partitions": tuple(key for _, key in sorted(self.partitions)),
            "schema_changes": tuple(self.changes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionReport:
    """What one session did, whatever it landed."""

    dataset: str
    counters: Counters
    """How those of the source changed."""
    manifest_version: int
    """At its end."""
    partitions: tuple[str, ...]
    """Keys of those that got rows, in order."""
    schema_changes: tuple[SchemaChange, ...]
    seconds: float
