"""How often the same work was tried in Dagster, when it may be tried again, and when to stop."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

_LONGEST_PAUSE = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """How often the same work was tried."""

    count: int
    """Runs that were made for it."""
    ended: datetime | None = None
    """When the last one ended."""
    last_run: str = ""
    """Its id."""

    def next_at(self, pause: timedelta) -> datetime | None:
        """When it may be tried again; the pause doubles with each attempt. None: at once."""
        if self.ended is None:
            return None
        return self.ended + min(pause * (1 << min(self.count - 1, 10)), _LONGEST_PAUSE)

    def exhausted(self, limit: int) -> bool:
        return self.count >= limit


def attempts(instance: dg.DagsterInstance, tag: str, digest: str) -> Attempts:
    """The runs so far for the work that `digest` names."""
    runs = instance.get_run_records(dg.RunsFilter(tags={tag: digest}), limit=100)
    if not runs:
        return Attempts(count=0)
    ended = max((record.end_time for record in runs if record.end_time), default=None)
    return Attempts(
        count=len(runs),
        ended=datetime.fromtimestamp(ended, UTC) if ended else None,
        last_run=runs[0].dagster_run.run_id,
    )


def digest_of(parts: Iterable[str]) -> str:
    """A short name, the same in every process, for a list of texts."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return hashed.hexdigest()[:20]
