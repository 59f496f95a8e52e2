"""Which partitions should be built now, and why: what the build sensor and the command line ask.

That depends on what a dataset's sources still have to deliver, as far as the catalog knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import PartitionRecord, TopicPartition
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Partition


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceProgress:
    """What the sources of a dataset still have to deliver."""

    pending_files: int = 0
    """Discovered and not settled."""
    watermarks: tuple[datetime | None, ...] = ()
    """One for each topic source that was ever read, None while it is unknown."""
    delivering: bool = False
    """A topic partition has had something to read until a short while ago (its source's `idle`)."""

    @property
    def watermark(self) -> datetime | None:
        """The time before which no topic delivers any more; None when there are none, or one doesn't say."""
        known = [time for time in self.watermarks if time is not None]
        return min(known) if known and len(known) == len(self.watermarks) else None


def source_progress(catalog: Catalog, dataset_id: int, dataset: Dataset) -> SourceProgress:
    """Ask the catalog about every source of a dataset."""
    watermarks: list[datetime | None] = []
    delivering = False
    for source in dataset.kafka_sources:
        record = catalog.sources.ensure(dataset_id, source.kind, source.address)
        partitions = catalog.topics.partitions(record.id)
        if partitions:
            watermarks.append(record.watermark)
            delivering = delivering or any(one.quiet < source.idle for one in _of_newest_cluster(partitions))
    return SourceProgress(pending_files=catalog.files.pending(dataset_id), watermarks=tuple(watermarks), delivering=delivering)


def _of_newest_cluster(partitions: list[TopicPartition]) -> list[TopicPartition]:
    """A cluster that was left behind delivers nothing any more."""
    newest = max(partitions, key=lambda one: one.id).cluster_id
    return [one for one in partitions if one.cluster_id == newest]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A partition to build."""

    partition: Partition
    reason: str
    """One plain phrase."""
    closes: bool
    """The build should seal it."""


def needed(
    records: Sequence[PartitionRecord],
    *,
    dataset: Dataset,
    requested: Mapping[str, str],
    feeds: SourceProgress,
    newest: datetime | None,
    now: datetime,
    outdated: Mapping[datetime, int] | None = None,
) -> list[Need]:
    """The partitions that a build would change, in order of time.

    A closed partition is needed as soon as it holds anything unbuilt; an open one when its deltas reach a threshold of
    `dataset.build` and some of them were never merged; a requested one always, unless it is built already in the present schema.

    Args:
        requested: partition key to reason, for partitions that somebody asked to build. feeds: what the sources still deliver.
        newest: newest time of any landed row of the dataset. outdated: segments of an earlier schema, see `schema_rewrites`.
    """
    rewrites = outdated or {}
    needs = (
        _asked_for(record, request, rewrites.get(record.partition.start, 0), now)
        if (request := requested.get(record.partition.key)) is not None
        else _need(record, dataset, feeds=feeds, newest=newest, now=now)
        for record in sorted(records, key=lambda record: record.partition.start)
    )
    return [need for need in needs if need is not None]


def is_closed(
    partition: Partition,
    record: PartitionRecord | None,
    *,
    dataset: Dataset,
    feeds: SourceProgress,
    newest: datetime | None,
    now: datetime,
) -> bool:
    """Whether no more rows are expected in a partition (late ones may come all the same).

    It is closed once it was sealed. Otherwise no file may be pending, and its end and `late.allowed` must have been passed: by
    the watermark where topics are read, else by the newest landed time. Or the whole dataset has an `end` that lies as far
    behind us, and no topic is delivering: newer rows than that are refused and could never close its last partitions.
    """
    if record is not None and (record.state != "open" or record.segments > record.deltas):
        return True
    if feeds.pending_files:
        return False
    if dataset.end is not None and dataset.end + dataset.late.allowed < now and not feeds.delivering:
        return True
    if feeds.watermarks:
        return feeds.watermark is not None and partition.end + dataset.late.allowed <= feeds.watermark
    return newest is not None and partition.end + dataset.late.allowed < newest


def _asked_for(record: PartitionRecord, request: str, outdated: int, now: datetime) -> Need | None:
    unbuilt = record.deltas > 0 or record.retracted
    if record.state == "expired" or not (unbuilt or outdated):
        return None
    of_earlier = [f"{_count(outdated, 'segment')} of an earlier schema"] if outdated else []
    described = ", ".join(filter(None, [_described(record, now), *of_earlier]))
    return Need(partition=record.partition, reason=f"{request}: {described}", closes=True)


def _need(
    record: PartitionRecord,
    dataset: Dataset,
    *,
    feeds: SourceProgress,
    newest: datetime | None,
    now: datetime,
) -> Need | None:
    unbuilt = record.deltas > 0 or record.retracted
    if record.state == "expired" or not unbuilt:
        return None
    if is_closed(record.partition, record, dataset=dataset, feeds=feeds, newest=newest, now=now):
        kind = "late or replaced rows" if record.state == "stale" else "closed"
        return Need(partition=record.partition, reason=f"{kind}: {_described(record, now)}", closes=True)
    if record.retracted or (_has_fresh(record) and _reached(record, dataset, now)):
        return Need(partition=record.partition, reason=_described(record, now), closes=False)
    return None


def _has_fresh(record: PartitionRecord) -> bool:
    """Whether a build by level would merge anything: deltas that were merged before wait until the partition closes."""
    return record.fresh_deltas > 0


def _reached(record: PartitionRecord, dataset: Dataset, now: datetime) -> bool:
    policy = dataset.build
    return (
        record.deltas >= policy.deltas
        or record.unbuilt_rows >= policy.rows
        or record.unbuilt_bytes >= policy.bytes
        or _age(record, now) >= policy.age
    )


def _age(record: PartitionRecord, now: datetime) -> timedelta:
    return now - record.oldest_delta_at if record.oldest_delta_at else timedelta(0)


def _described(record: PartitionRecord, now: datetime) -> str:
    """For instance `3 deltas, 120,000 unbuilt rows, oldest 6 min`."""
    parts = []
    if record.deltas:
        parts += [
            _count(record.deltas, "delta"),
            _count(record.unbuilt_rows, "unbuilt row"),
            f"oldest {_short(_age(record, now))}",
        ]
    if record.retracted:
        parts.append("retracted rows to remove")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
