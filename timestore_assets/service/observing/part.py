"""One part of the service and whether it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PartState = Literal["ready", "warning", "not_ready"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """`warning`: it works, but not at its best. `reason`: empty when it is ready."""

    name: str
    state: PartState = "ready"
    reason: str = ""
