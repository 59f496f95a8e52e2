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

    @property
    def key(self) -> str:
        """What tells it from the dataset's others: with another limit it is another one."""
        limit = f"{self.age.total_seconds():.0f}s" if self.on == "staleness" else str(self.above)
        return self.on if self.on in ("paused", "schema") else f"{self.on}>{limit}"
