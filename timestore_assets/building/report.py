"""What a build did, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from timestore_assets.catalog.records import PartitionState
from timestore_assets.model.window import Partition

Outcome = Literal["built", "unchanged", "empty"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """One partition after its build.

    `outcome`: `built` (segments were replaced, or the partition sealed) · `unchanged` (nothing to do) · `empty` (holds no rows).
    `state`, `rows`, `bytes`, `segments`, `min_time`, `max_time`, `content_hash`: of the partition now. `superseded_rows`: rows
    that deduplication removed in this build. `manifest_version`: at which the partition last changed. `seconds`: of this build.
    """

    partition: Partition
    outcome: Outcome
    state: PartitionState
    rows: int
    bytes: int
    segments: int
    superseded_rows: int
    content_hash: str | None
    min_time: datetime | None
    max_time: datetime | None
    manifest_version: int
    schema_version: int
    seconds: float
