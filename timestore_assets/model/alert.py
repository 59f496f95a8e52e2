"""When people are told that something is wrong with a dataset, and where; frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

AlertKind = Literal["dead_letters", "lag", "staleness", "paused", "quarantine", "schema"]
"""dead_letters: records refused and not replayed · lag: records of topics not read yet · staleness: age of the newest row ·
paused: landing from a source is paused · quarantine: files that can't be read · schema: the columns have changed."""
ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """A condition of a dataset, and who is told when it begins and when it ends."""

    on: AlertKind
    to: tuple[str, ...]
    """Names of channels, which the deployment sets (`TIMESTORE_ALERT_CHANNELS`)."""
    above: int = 0
    """Dead letters, records of lag, or files in quarantine that are still in order."""
    age: timedelta = timedelta(0)
    """How old the newest row may be, of `staleness`."""
    hold: timedelta = timedelta(0)
    """How long the condition must hold before people are told (`for:`)."""
    keep: timedelta = timedelta(0)
    """How long it must not hold any more before the alert ends."""
    remind: timedelta | None = None
    """How often people are told again while it goes on; never when None."""

    @property
    def key(self) -> str:
        """What tells it from the dataset's others: with another limit, or another `for`, it is another one."""
        limit = f"{self.age.total_seconds():.0f}s" if self.on == "staleness" else str(self.above)
        condition = self.on if self.on in ("paused", "schema") else f"{self.on}>{limit}"
        return f"{condition} for {self.hold.total_seconds():.0f}s" if self.hold else condition
