"""Which partitions expire and which move to another storage target, as a function of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.catalog.stored_objects import TargetContents
from timestore_assets.model.retention import Retention
from timestore_assets.model.window import Partition, format_duration

Reason = Literal["max_age", "max_bytes"]
Places = Mapping[datetime, Mapping[str, TargetContents]]
"""What is where of each partition, by its start and storage target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiring:
    """A partition whose time is over. `held_by`: legal holds, for which it stays."""

    partition: Partition
    reason: Reason
    detail: str
    rows: int
    bytes: int
    held_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiering:
    """A partition that belongs into another storage target. `objects`, `bytes`: of what is not there yet."""

    partition: Partition
    target: str
    objects: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionPlan:
    """What a dataset's retention asks for now.

    `bytes`: of all its live segments. `over`: by how much they stay above `max_bytes`.
    """

    expiring: tuple[Expiring, ...] = ()
    held: tuple[Expiring, ...] = ()
    tiering: tuple[Tiering, ...] = ()
    bytes: int = 0
    over: int = 0

    @property
    def nothing(self) -> bool:
        return not self.expiring and not self.tiering


def plan_retention(
    records: Sequence[PartitionRecord],
    retention: Retention,
    *,
    now: datetime,
    places: Places,
    holds: Mapping[datetime, tuple[str, ...]],
) -> RetentionPlan:
    """Partitions older than `max_age` expire, then the oldest until the rest is within `max_bytes`; of what stays the old moves.

    The age of a partition counts from its end. The newest one that holds rows, and whatever has not ended, never expires by size.

    Args:
        holds: names of the legal holds that keep a partition, by its start.
    """
    present = [one for one in sorted(records, key=lambda one: one.partition.start) if one.segments and one.state != "expired"]
    wanted = [_expiring(one, "max_age", _aged(retention, one, now), holds) for one in present if _is_past(one, retention, now)]
    total = sum(one.bytes for one in present)
    gone = {one.partition.start for one in wanted}
    left = total - sum(one.bytes for one in wanted if not one.held_by)
    for one in present[:-1] if retention.max_bytes is not None else ():
        if left <= (retention.max_bytes or 0):
            break
        if one.partition.start in gone or one.partition.end > now:
            continue
        found = _expiring(one, "max_bytes", f"the dataset has {left:,} bytes of {retention.max_bytes:,}", holds)
        wanted.append(found)
        gone.add(one.partition.start)
        left -= 0 if found.held_by else one.bytes
    expiring = tuple(one for one in wanted if not one.held_by)
    leaving = {one.partition.start for one in expiring}
    return RetentionPlan(
        expiring=expiring,
        held=tuple(one for one in wanted if one.held_by),
        tiering=_tiering([one for one in present if one.partition.start not in leaving], retention, now, places),
        bytes=total,
        over=0 if retention.max_bytes is None else max(0, left - retention.max_bytes),
    )


def _is_past(record: PartitionRecord, retention: Retention, now: datetime) -> bool:
    return retention.max_age is not None and _age(record, now) >= retention.max_age


def _age(record: PartitionRecord, now: datetime) -> timedelta:
    return now - record.partition.end


def _aged(retention: Retention, record: PartitionRecord, now: datetime) -> str:
    kept = "" if retention.max_age is None else format_duration(retention.max_age)
    return f"it ended {_age(record, now).days:,} days ago and is kept for {kept}"


def _expiring(record: PartitionRecord, reason: Reason, detail: str, holds: Mapping[datetime, tuple[str, ...]]) -> Expiring:
    held_by = holds.get(record.partition.start, ())
    return Expiring(
        partition=record.partition, reason=reason, detail=detail, rows=record.rows, bytes=record.bytes, held_by=held_by
    )


def _tiering(records: Sequence[PartitionRecord], retention: Retention, now: datetime, places: Places) -> tuple[Tiering, ...]:
    found = []
    for record in records:
        tier = retention.tier_of(_age(record, now))
        if tier is None:
            continue
        away = [held for target, held in places.get(record.partition.start, {}).items() if target != tier.to]
        if away:
            objects, size = sum(held.objects for held in away), sum(held.bytes for held in away)
            found.append(Tiering(partition=record.partition, target=tier.to, objects=objects, bytes=size))
    return tuple(found)
