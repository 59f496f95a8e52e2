"""How often the checks of a dataset are evaluated while a stream lands into it: its every commit would make rows in Dagster."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Self

SECONDS = 60.0
_VERSION = 1


@dataclass(kw_only=True)
class CheckPace:
    """`checked`: when (seconds since 1970) a dataset's checks were evaluated. `owed`: datasets that have changed since."""

    checked: dict[str, float] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """The pace that a sensor's cursor holds; a new one when it holds none, or one of another version."""
        try:
            found = json.loads(cursor or "{}")
        except ValueError:
            return cls()
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            return cls()
        return cls(checked=dict(found["checked"]), owed=set(found["owed"]))

    def cursor(self) -> str:
        return json.dumps({"version": _VERSION, "checked": self.checked, "owed": sorted(self.owed)})

    def due(self, urgent: Collection[str], streamed: Collection[str], *, now: float, at_once: bool = False) -> list[str]:
        """Datasets to check now: those of `urgent`, and of `streamed` those whose last check is a minute ago or more.

        `at_once`: all that are owed. The rest is owed until another call.
        """
        self.owed.update(urgent, streamed)
        due = sorted(
            name for name in self.owed if at_once or name in urgent or not 0 <= now - self.checked.get(name, 0.0) < SECONDS
        )
        self.owed.difference_update(due)
        self.checked.update(dict.fromkeys(due, round(now, 3)))
        return due
