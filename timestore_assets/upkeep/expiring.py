"""Applying a dataset's retention: old partitions expire, each in a transaction of its own, and less old ones move to their tier.

Killed in between, the next one goes on with the rest. No file goes here: `collect` removes those of expired partitions once the
rollback window is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.expiry import ExpiredPartition
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.retention import Retention
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.move_dataset import move_partition
from timestore_assets.upkeep.retention_plan import RetentionPlan, plan_retention


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedPartition:
    """What was brought to a tier of one partition."""

    partition: str
    target: str
    objects: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldPartition:
    """A partition that should expire and that legal holds keep."""

    partition: str
    held_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionReport:
    """What was done for a dataset, or with `dry_run` what would be.

    `over`: bytes that stay above `max_bytes`, because nothing more may expire. `manifest_version`: the newest one.
    """

    dataset: str
    dry_run: bool
    retention: Retention
    expired: tuple[ExpiredPartition, ...]
    held: tuple[HeldPartition, ...]
    moved: tuple[MovedPartition, ...]
    over: int
    manifest_version: int

    @property
    def changed(self) -> bool:
        return bool(self.expired or self.moved)


def retention_of(catalog: Catalog, record: DatasetRecord) -> Retention:
    """What counts for a dataset: what was set for it, else what is declared."""
    policy = catalog.policies.find(record.id, "retention")
    if policy is not None and policy.value is not None:
        return Retention.from_policy(policy.value)
    return Retention.from_definition(record.definition.get("retention") or {})


def retentions(catalog: Catalog) -> Iterator[tuple[DatasetRecord, Retention]]:
    """What counts for every dataset that is registered."""
    policies = catalog.policies.all("retention")
    for record in catalog.datasets.all():
        policy = policies.get(record.id)
        declared = Retention.from_definition(record.definition.get("retention") or {})
        yield record, Retention.from_policy(policy.value) if policy and policy.value is not None else declared


def kept_versions(catalog: Catalog) -> dict[int, timedelta]:
    """How long superseded segments stay, of the datasets that say so themselves, by their id."""
    return {one.id: retention.keep_versions for one, retention in retentions(catalog) if retention.keep_versions is not None}


def look(catalog: Catalog, record: DatasetRecord, retention: Retention, *, now: datetime) -> RetentionPlan:
    """What the retention of a dataset asks for now."""
    return plan_retention(
        catalog.partitions.of(record.id),
        retention,
        now=now,
        places=catalog.moving.places(record.id) if retention.tier else {},
        holds=catalog.expiry.held(record.id),
    )


def would_do(catalog: Catalog, record: DatasetRecord, *, now: datetime) -> RetentionReport:
    """What `apply_retention` would do now. Nothing is changed."""
    retention = retention_of(catalog, record)
    plan, version = look(catalog, record, retention, now=now), catalog.manifest.version(record.id)
    would_expire = tuple(
        ExpiredPartition(
            partition=one.partition.key,
            reason=f"{one.reason}: {one.detail}",
            rows=one.rows,
            bytes=one.bytes,
            segments=0,
            manifest_version=version,
        )
        for one in plan.expiring
    )
    would_move = tuple(
        MovedPartition(partition=one.partition.key, target=one.target, objects=one.objects, bytes=one.bytes)
        for one in plan.tiering
    )
    return RetentionReport(
        dataset=record.name,
        dry_run=True,
        retention=retention,
        expired=would_expire,
        held=_held(plan),
        moved=would_move,
        over=plan.over,
        manifest_version=version,
    )


def apply_retention(
    catalog: Catalog,
    storage: Storage,
    record: DatasetRecord,
    *,
    now: datetime,
    holder: str,
    actor: str,
    moves: bool = True,
) -> RetentionReport:
    """Let partitions expire and move as the retention of a dataset says; idempotent.

    A partition that a legal hold keeps stays, and the report names the hold. `moves`: False leaves tiers for another time.

    Raises:
        InputError: a tier is no storage target of this process; nothing was changed.
        OwnershipError, UnavailableError, StorageFullError, MissingObjectError, DamagedError: as `move_dataset.move`; what has
            expired or moved by then stays so.
    """
    retention = retention_of(catalog, record)
    for tier in retention.tier:
        storage.target(tier.to)
    plan = look(catalog, record, retention, now=now)
    expired, refused = [], []
    for one in plan.expiring:
        try:
            done = catalog.expiry.expire(record.id, one.partition, reason=f"{one.reason}: {one.detail}", actor=actor)
        except RefusedError as error:  # the hold came after the plan
            refused.append(HeldPartition(partition=one.partition.key, held_by=(str(error),)))
        else:
            expired += [done] if done is not None else []
    return RetentionReport(
        dataset=record.name,
        dry_run=False,
        retention=retention,
        expired=tuple(expired),
        held=(*_held(plan), *refused),
        moved=tuple(_move(catalog, storage, record, plan, holder=holder, actor=actor)) if moves else (),
        over=plan.over,
        manifest_version=catalog.manifest.version(record.id),
    )


def _held(plan: RetentionPlan) -> tuple[HeldPartition, ...]:
    return tuple(HeldPartition(partition=one.partition.key, held_by=one.held_by) for one in plan.held)


def _move(
    catalog: Catalog, storage: Storage, record: DatasetRecord, plan: RetentionPlan, *, holder: str, actor: str
) -> Iterator[MovedPartition]:
    for one in plan.tiering:
        done = move_partition(catalog, storage, record, one.partition, one.target, holder=holder, actor=actor)
        if done.objects:
            yield MovedPartition(partition=one.partition.key, target=one.target, objects=done.objects, bytes=done.bytes)
