"""What goes into and comes out of the catalog: frozen values, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from timestore_assets.model.objects import DEFAULT_TARGET
from timestore_assets.model.position import START, Position
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.window import Partition

FileState = Literal["pending", "landing", "landed", "duplicate", "rejected", "quarantined", "replaced"]
"""pending: seen, not begun · landing: some batches committed · landed · duplicate: same content landed under another
address · rejected: changed content at a landed address under `on_change: reject` · quarantined: can't be read · replaced:
its rows were retracted."""

PartitionState = Literal["open", "sealed", "stale", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRecord:
    """A registered dataset. `schema` is the current one (declared columns plus evolved ones, with its version).

    `storage`: target that new objects go to; as declared, unless an operator has set another.
    """

    id: int
    name: str
    manifest_version: int
    schema: Schema
    definition: Mapping[str, Any]
    storage: str = DEFAULT_TARGET


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Dispositions of records (I2): read = landed + duplicates + late_dropped + held + dead_letters."""

    read: int = 0
    landed: int = 0
    duplicates: int = 0
    late_dropped: int = 0
    held: int = 0
    dead_letters: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    @property
    def balanced(self) -> bool:
        return self.read == self.landed + self.duplicates + self.late_dropped + self.held + self.dead_letters


NO_COUNTS = Counters()


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """A declared source of a dataset, with what became of its records.

    `watermark`: no more records are expected before it (topics; None while it is unknown). `paused`: why landing from it is
    paused, empty when it is not.
    """

    id: int
    dataset_id: int
    kind: str
    address: str
    counters: Counters = NO_COUNTS
    watermark: datetime | None = None
    paused: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePartition:
    """One file or topic partition: what `__source` refers to, and its checkpoint."""

    id: int
    source_id: int
    name: str
    position: Position = START


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicPartition:
    """A partition of a topic as the catalog knows it: its checkpoint and what the watermark needs.

    `id`: of its source partition. `epoch`: rises when the topic was deleted and made again, or its offsets began anew; with
    each, the source partitions are new ones. `topic_id`: the broker's, None where it gives none. `newest`: newest event time
    landed. `quiet`: how long it has had nothing more to read, over all sessions. `session_id`: of the live session that reads
    it, None when nobody does.
    """

    id: int
    source_id: int
    cluster_id: str
    topic: str
    epoch: int
    topic_id: str | None
    number: int
    position: int
    newest: datetime | None = None
    quiet: timedelta = timedelta(0)
    session_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LostRange:
    """Offsets `[start, end)` that the broker deleted before they were read. `skipped`: landing goes on behind them.

    `accepted`: somebody has taken note (or the dataset's policy is to continue); until then the check fails.
    """

    id: int
    source_id: int
    source_partition_id: int
    topic: str
    number: int
    start: int
    end: int
    reason: str
    skipped: bool
    accepted: bool
    found_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """A file content at an address.

    `sha256`: of the stored bytes. `etag`: the storage's cheap identity (spares re-hashing). `bytes`: stored size.
    `reason`: why it was quarantined, rejected or found a duplicate. `position`: checkpoint of its source partition, where
    landing goes on. `replaces`: source partitions whose rows this content replaces: land it with `publish=False` until
    its last batch, and give these as `retract` there. Empty for an ordinary file.
    """

    id: int
    source_id: int
    address: str
    sha256: str
    etag: str
    bytes: int
    state: FileState
    source_partition_id: int | None = None
    position: Position = START
    counters: Counters = NO_COUNTS
    reason: str = ""
    updated_at: datetime | None = None
    replaces: tuple[int, ...] = ()


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


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyKey:
    """`digest`: of the content the key stood for, so that a re-use for other content can be told."""

    key: str
    digest: str


DeadLetterKind = Literal["refused", "late_dropped", "held"]
"""Which disposition the records of a dead-letter file count under (`refused`: `dead_letters`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterFile:
    """A durable Parquet object of records that did not land, see `landing.dead_letters` for its columns.

    `storage`: name of the storage target. `reasons`: rows by code. `forward`: to be produced to the source's dead-letter topic.
    `id`: the catalog's, 0 before.
    """

    name: str
    rows: int
    bytes: int
    reasons: Mapping[str, int]
    kind: DeadLetterKind = "refused"
    forward: bool = False
    storage: str = DEFAULT_TARGET
    id: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaChange:
    """`kind`: `column_added` or `type_widened`; `before`/`after`: type texts."""

    kind: Literal["column_added", "type_widened"]
    column: str
    before: str | None
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """How far a commit moves the checkpoint of one source partition (compare and set), and for topics what the watermark
    needs: `newest` event time among the records, `quiet`: the new total of its quiet time, None to leave it.
    """

    source_partition_id: int
    start: Position
    end: Position
    newest: datetime | None = None
    quiet: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WatermarkRule:
    """Whose newest event times make a source's watermark: the minimum over these source partitions, those left out that have
    been quiet for `idle`. `cap`: no watermark is later (clocks from the future).
    """

    over: tuple[int, ...]
    idle: timedelta
    cap: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class NewIngestion:
    """What a request brought, settled by the commit that lands it.

    `digest`: of its body. `outcome`: what is answered, plain JSON values; the manifest version is added by the commit.
    `announced`: its row is there already and waits (`Ingestions.announce`), so that it is settled and not inserted.
    """

    id: str
    key: str | None
    digest: str
    outcome: Mapping[str, Any]
    actor: str
    announced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingCommit:
    """One batch's effects, all of them or none (DESIGN §4).

    `spans`: compared and set on the source partitions. `intents`: object names announced before, required and removed here
    (all of `segments` and `dead_letter_files`). `schema`: the evolved schema when it changed, else None;
    `base_schema_version` is compared when it is given. `publish=False` keeps the segments waiting (a replacement that is
    not complete); the commit that publishes takes all waiting ones of the source partition with it. `retract`: source
    partitions whose rows leave with this commit. `file_state`: new state of the file, for file sources. `replays`: dead-letter
    files that this commit settles, none of which may be settled yet; its counters say how dispositions change, so that some
    are negative and nothing is read.
    """

    dataset_id: int
    session_id: int
    source_id: int
    spans: tuple[Span, ...]
    counters: Counters
    segments: tuple[NewSegment, ...] = ()
    dead_letter_files: tuple[DeadLetterFile, ...] = ()
    intents: tuple[str, ...] = ()
    idempotency_keys: tuple[IdempotencyKey, ...] = ()
    schema: Schema | None = None
    base_schema_version: int | None = None
    schema_changes: tuple[SchemaChange, ...] = ()
    publish: bool = True
    retract: tuple[int, ...] = ()
    file_id: int | None = None
    file_state: FileState | None = None
    actor: str = "timestore"
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    """Values left out by `new_columns: ignore`, by column; kept in the audit (I7)."""
    watermark: WatermarkRule | None = None
    replays: tuple[int, ...] = ()
    ingestions: tuple[NewIngestion, ...] = ()
    """Requests that this commit settles; a key that another request has used by now is a conflict."""
    claimed: bool = False
    """The source partitions must be held by this session (`Catalog.claim`), so that a zombie can't win against its successor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildCommit:
    """A build's effect on one partition: exactly `replaces` go (all must be live, else ConflictError), `segments` come.

    `seal`: the partition becomes `sealed` if nothing unbuilt remains in it after the swap. `superseded_rows`: rows removed by
    deduplication in this build. `retracted_rows`: rows dropped because their source partition had been retracted.
    `report`: queue a materialisation in the outbox (False when Dagster itself runs the build and yields the event).
    """

    dataset_id: int
    session_id: int
    partition: Partition
    replaces: tuple[int, ...]
    segments: tuple[NewSegment, ...]
    seal: bool
    superseded_rows: int = 0
    retracted_rows: int = 0
    content_hash: str | None = None
    intents: tuple[str, ...] = ()
    report: bool = True
    actor: str = "timestore"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRecord:
    """A partition that ever held rows. `rows`/`bytes` over live segments (`rows` before deduplication of unbuilt ones).

    `unbuilt_rows`, `unbuilt_bytes`, `deltas`: of live delta segments. `oldest_delta_at`: when the oldest of them was published.
    `fresh_deltas`: how many of them are as landed (level 0), so that a build of an open partition has something to merge.
    `retracted`: live segments hold rows of retracted source partitions (a build will drop them).
    `content_hash`: of the logical rows, set when sealed.
    """

    partition: Partition
    state: PartitionState
    rows: int
    bytes: int
    segments: int
    deltas: int
    unbuilt_rows: int
    unbuilt_bytes: int
    oldest_delta_at: datetime | None
    min_time: datetime | None
    max_time: datetime | None
    schema_version: int
    superseded_rows: int
    retracted: bool
    content_hash: str | None
    manifest_version: int
    """Version at which it last changed."""
    fresh_deltas: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxEvent:
    """`kind`: `partition_built` | `files_landed` | `schema_changed` | `file_quarantined` …; `payload` is JSON."""

    id: int
    dataset: str
    kind: str
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A claim that expires by itself. `resource` for instance `build:3:2013-01-01`, `file:17`, `query:…`."""

    id: int
    resource: str
    holder: str
    expires_at: datetime
