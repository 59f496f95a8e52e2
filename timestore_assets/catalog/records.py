"""What goes into and comes out of the catalog: frozen values, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from timestore_assets.model.counters import NO_COUNTS, Counters
from timestore_assets.model.position import START, Position
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.source_kinds import SourceKind, reads_topics
from timestore_assets.model.window import Partition

FileState = Literal["pending", "landing", "landed", "duplicate", "rejected", "quarantined", "replaced", "retracted"]
"""pending: seen, not begun · landing: some batches committed · landed · duplicate: same content landed under another
address · rejected: changed content at a landed address under `on_change: reject` · quarantined: can't be read · replaced:
its rows left with the landing of another content · retracted: somebody took them out; named once more it lands again."""

PartitionState = Literal["open", "sealed", "stale", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRecord:
    """A registered dataset."""

    id: int
    name: str
    manifest_version: int
    """The newest."""
    schema: Schema
    """The current one: declared columns plus evolved ones, with its version."""
    definition: Mapping[str, Any]
    """The declaration as JSON values."""
    storage: str = DEFAULT_TARGET
    """Target that new objects go to; as declared, unless an operator has set another."""
    retired_at: datetime | None = None
    """Since when nothing lands in it; None when it is in use."""
    earlier: Mapping[str, Mapping[str, int]] = field(default_factory=dict, compare=False)
    """By digest of the column part of earlier declarations: ids of columns by their names there. Empty without renames."""

    @property
    def is_retired(self) -> bool:
        return self.retired_at is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerName:
    """A name that a dataset had and none has now."""

    name: str
    now_named: str | None
    """What the dataset is called since; None when it was dropped."""
    at: datetime
    """When that was: what declared the name until then does not bring it back."""

    @property
    def reason(self) -> str:
        """Why there is no dataset of that name, as a sentence without its end."""
        at = f"{self.at:%Y-%m-%d %H:%M:%S} UTC"
        if self.now_named is None:
            return f"dataset {self.name!r} was dropped at {at}"
        return f"dataset {self.name!r} is called {self.now_named!r} since {at}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """A declared source of a dataset, with what became of its records."""

    id: int
    dataset_id: int
    kind: SourceKind
    address: str
    counters: Counters = NO_COUNTS
    watermark: datetime | None = None
    """No more records are expected before it (topics; None while it is unknown)."""
    paused: str = ""
    """Why landing from it is paused, empty when it is not."""

    @property
    def reads_topics(self) -> bool:
        return reads_topics(self.kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePartition:
    """One file or topic partition: what `__source` refers to, and its checkpoint."""

    id: int
    source_id: int
    name: str
    position: Position = START


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicPartition:
    """A partition of a topic as the catalog knows it: its checkpoint and what the watermark needs."""

    id: int
    """Of its source partition."""
    source_id: int
    cluster_id: str
    topic: str
    epoch: int
    """Rises when the topic was deleted and made again, or its offsets began anew; with each, the source partitions are new."""
    topic_id: str | None
    """The broker's, None where it gives none."""
    number: int
    position: int
    """The offset that is read next."""
    newest: datetime | None = None
    """Newest event time landed."""
    quiet: timedelta = timedelta(0)
    """How long it has had nothing more to read, over all sessions."""
    session_id: int | None = None
    """Of the live session that reads it, None when nobody does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LostRange:
    """Offsets `[start, end)` that the broker deleted before they were read."""

    id: int
    source_id: int
    source_partition_id: int
    topic: str
    number: int
    start: int
    end: int
    reason: str
    skipped: bool
    """Landing goes on behind them."""
    accepted: bool
    """Somebody has taken note (or the dataset's policy is to continue); until then the check fails."""
    found_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """A file content at an address."""

    id: int
    source_id: int
    address: str
    sha256: str
    """Of the stored bytes."""
    etag: str
    """The storage's cheap identity (spares re-hashing)."""
    bytes: int
    """Stored size."""
    state: FileState
    source_partition_id: int | None = None
    position: Position = START
    """Checkpoint of its source partition, where landing goes on."""
    counters: Counters = NO_COUNTS
    reason: str = ""
    """Why it was quarantined, rejected or found a duplicate."""
    updated_at: datetime | None = None
    replaces: tuple[int, ...] = ()
    """Source partitions whose rows this content replaces, with its last batch (`FileProgress`). Empty for an ordinary file."""
    schema_version: int | None = None
    """That was current when a content was first seen at its address, and whose names its records go by; None where unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChunk:
    """A part of a large file: `[start, end)` of it, read as a source partition of its own whose checkpoint is `position`."""

    file_id: int
    number: int
    source_partition_id: int
    start: Position
    end: Position
    position: Position

    @property
    def done(self) -> bool:
        return self.position.offset >= self.end.offset


DeadLetterKind = Literal["refused", "late_dropped", "held"]
"""Which disposition the records of a dead-letter file count under (`refused`: `dead_letters`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LateRows:
    """Late records of one partition."""

    start: datetime
    """Of the partition."""
    rows: int
    lateness: int = 0
    """How late they were: that of `catalog.late_records`, which their commit finds out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterFile:
    """A durable Parquet object of records that did not land, see `landing.committing.staged_dead_letters` for its columns."""

    name: str
    rows: int
    bytes: int
    reasons: Mapping[str, int]
    """Rows by code."""
    kind: DeadLetterKind = "refused"
    forward: bool = False
    """To be produced to the source's dead-letter topic."""
    storage: str = DEFAULT_TARGET
    """Name of the storage target."""
    sha256: str | None = None
    """Of the object's bytes in hex, None for one of before there were digests."""
    late: tuple[LateRows, ...] = ()
    """Of late records: which partitions they are of. Empty for others, and for files of before this was noted."""
    id: int = 0
    """The catalog's, 0 before."""
    schema_version: int | None = None
    """Whose names the records go by; None: that of the commit that keeps it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveRows:
    """What all partitions of a dataset hold together."""

    rows: int
    """Before deduplication of unbuilt ones."""
    newest: datetime | None
    """Newest time of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRecord:
    """A partition that ever held rows."""

    partition: Partition
    state: PartitionState
    rows: int
    """Of live segments, before deduplication of unbuilt ones."""
    bytes: int
    """Of live segments."""
    segments: int
    deltas: int
    """Live delta segments."""
    unbuilt_rows: int
    """Of live delta segments."""
    unbuilt_bytes: int
    oldest_delta_at: datetime | None
    """When the oldest of them was published."""
    min_time: datetime | None
    max_time: datetime | None
    schema_version: int
    """The newest among its segments."""
    superseded_rows: int
    """Rows that deduplication has removed, over all builds."""
    retracted: bool
    """Live segments hold retracted rows (a build will drop them)."""
    content_hash: str | None
    """Of the logical rows, set when sealed."""
    manifest_version: int
    """Version at which it last changed."""
    fresh_deltas: int = 0
    """Deltas that are as landed (level 0), so that a build of an open partition has something to merge."""
    newest_at: datetime | None = None
    """When the newest live segment was published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxEvent:
    """What is told to Dagster."""

    id: int
    dataset: str
    kind: str
    """`partition_built` | `files_landed` | `schema_changed` | `file_quarantined` …"""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A claim that expires by itself."""

    id: int
    resource: str
    """For instance `build:3:2013-01-01`, `file:17`, `query:…`."""
    holder: str
    expires_at: datetime
