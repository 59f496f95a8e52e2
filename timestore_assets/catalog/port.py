"""The catalog as the rest of the project sees it. `catalog.sql` implements it on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from timestore_assets.catalog.records import (
    NO_COUNTS,
    BuildCommit,
    Counters,
    DatasetRecord,
    DeadLetterFile,
    FileRecord,
    FileState,
    LandingCommit,
    Lease,
    LostRange,
    OutboxEvent,
    PartitionRecord,
    SourcePartition,
    SourceRecord,
    TopicPartition,
)
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.objects import DEFAULT_TARGET, ObjectName
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Partition

if TYPE_CHECKING:
    from timestore_assets.catalog.chunks import Chunks
    from timestore_assets.catalog.declarations import Declarations
    from timestore_assets.catalog.ingestions import Ingestions
    from timestore_assets.catalog.moving import Moving
    from timestore_assets.catalog.policies import Policies
    from timestore_assets.catalog.replica import Replica
    from timestore_assets.catalog.saved_queries import SavedQueries
    from timestore_assets.catalog.tokens import Tokens
    from timestore_assets.catalog.trimming import Trimming


class Catalog(Protocol):
    """Every method is one short transaction. Times are aware and UTC. Unknown ids raise KeyError (a bug, not an input).

    What the HTTP service alone keeps, and what is forgotten in time, is in parts of its own.
    """

    @property
    def place(self) -> str:
        """What errors call the catalog (no password in it)."""

    @property
    def replica(self) -> Replica | None:
        """What queries plan by as far as it has come, if there is one."""

    @property
    def ingestions(self) -> Ingestions: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def saved_queries(self) -> SavedQueries: ...
    @property
    def declarations(self) -> Declarations: ...
    @property
    def policies(self) -> Policies: ...
    @property
    def trimming(self) -> Trimming: ...
    @property
    def chunks(self) -> Chunks: ...
    @property
    def moving(self) -> Moving: ...

    def is_current(self) -> bool:
        """Whether the tables are (still) those that this version of the package reads and writes."""

    # --- datasets and schemas
    def register(self, dataset: Dataset, *, actor: str) -> DatasetRecord:
        """Insert or update a declaration; idempotent (an unchanged one writes nothing).

        Added nullable columns and widened declared types make the next schema version; a declared column that had been
        inferred keeps its stored form. Anything else (removed column, narrowed type, other window, time, start moved
        later than existing data, …) on a dataset that already has rows raises RefusedError saying what differs.
        """

    def dataset(self, name: str) -> DatasetRecord | None: ...
    def datasets(self) -> list[DatasetRecord]: ...
    def schema(self, dataset_id: int, version: int) -> Schema: ...
    def schema_history(self, dataset_id: int) -> list[dict[str, Any]]:
        """Per version, newest first: version, created_at, actor, changes [{kind, column, before, after}], columns."""

    # --- sources and files
    def source(self, dataset_id: int, kind: str, address: str) -> SourceRecord:
        """The source of that address, made when it is new."""

    def sources(self, dataset_id: int) -> list[SourceRecord]: ...
    def source_partition(self, source_id: int, name: str) -> SourcePartition:
        """The source partition of that name with its checkpoint, made at START when it is new."""

    def checkpoints(self, source_partition_ids: Sequence[int]) -> dict[int, Position]:
        """Where these source partitions stand."""

    def topic_partitions(self, source_id: int) -> list[TopicPartition]:
        """Partitions of the newest epoch of every (cluster, topic) of the source, by cluster, topic and number."""

    def open_topic(
        self, source_id: int, *, cluster_id: str, topic: str, epoch: int, topic_id: str | None, starts: Mapping[int, int]
    ) -> list[TopicPartition]:
        """The topic's partitions in that epoch, those that are new with their first offsets; idempotent.

        A broker's topic id is kept when none was known. A new epoch is noted in the audit.
        """

    def claim(self, session_id: int, source_partition_ids: Sequence[int]) -> set[int]:
        """Of these those that this session now holds: free ones, and those of sessions that no longer live."""

    def pause(self, source_id: int, reason: str) -> None:
        """Say that landing from a source is paused and why, or with an empty reason that it goes on; audited when it changes."""

    def lose(
        self, source_partition_id: int, *, start: int, end: int, reason: str, session_id: int, skip: bool, actor: str
    ) -> LostRange:
        """Record offsets that the broker deleted, once; with `skip` the checkpoint moves behind them (accepted, audited).

        Raises:
            ConflictError: the checkpoint is not at `start`, or another session holds the partition.
        """

    def lost_ranges(self, dataset_id: int) -> list[LostRange]:
        """All that were ever recorded, newest first."""

    def accept_lost(self, dataset_id: int, *, actor: str) -> int:
        """Take note of the lost ranges, so that landing may skip them and the check passes again; returns how many were new."""

    def files(self, source_id: int, *, states: Sequence[FileState] | None = None) -> list[FileRecord]:
        """Newest record of each address, by address."""

    def settled_etags(self, source_id: int, addresses: Sequence[str]) -> dict[str, str]:
        """Of these addresses those whose content's fate is decided (landed, duplicate, rejected, quarantined), with its etag."""

    def file_at(self, source_id: int, address: str) -> FileRecord | None:
        """The record that stands for an address now."""

    def observe_file(self, source_id: int, *, address: str, sha256: str, etag: str, size: int, replace: bool) -> FileRecord:
        """Decide what a content at an address is, in one transaction, and return its record (SEMANTICS §7).

        * The same content has landed, or is landing, in this dataset at another address: `duplicate`, with the reason naming
          that one, and its records counted as duplicates.
        * The same content at this address: the existing record (etag refreshed), whatever its state, so that an unfinished
          one resumes.
        * Other content while this address has a landed or landing record: `rejected`, or with `replace` a new `pending` one.
        * Otherwise a new `pending` record.

        A `pending` record gets its source partition (named by sha256, plus the address when it replaces) and `replaces`, which
        also names what landed before a quarantine at its address. A content that waits at two addresses has one source
        partition, so it lands once; when it has, the other record becomes a `duplicate`. What a dead session left half landed
        may be resumed from another address (the first may be gone). A file without a single record can still be filled.
        """

    def settle_file(self, file_id: int, state: FileState, *, reason: str = "", counters: Counters = NO_COUNTS) -> None:
        """Move a file to `quarantined`, `duplicate`, … outside a landing commit; audited, with an outbox event."""

    # --- sessions, intents, leases
    def begin_session(self, dataset_id: int, kind: str, *, holder: str, ttl: timedelta) -> int:
        """A landing or build session with a heartbeat lease; its id rises with time (it is the `__session` of rows)."""

    def heartbeat(self, session_id: int, *, ttl: timedelta) -> None: ...
    def end_session(self, session_id: int) -> None: ...
    def announce(self, session_id: int, names: Sequence[str], *, storage: str = DEFAULT_TARGET) -> None:
        """Write intents for objects that are about to appear in a storage target."""

    def acquire(self, resource: str, *, holder: str, ttl: timedelta) -> Lease | None:
        """The lease, or None while somebody else's is alive. An expired one is taken over."""

    def renew(self, lease: Lease, *, ttl: timedelta) -> Lease | None:
        """None when it was lost."""

    def release(self, lease: Lease) -> None: ...

    # --- the transaction
    def commit_landing(self, commit: LandingCommit) -> int:
        """Commit a batch; returns the manifest version (unchanged when nothing became visible).

        Raises:
            ConflictError: a checkpoint, a claim, the base schema version, an intent, an idempotency key or a dead-letter file to
                settle was not as expected.
            UnknownOutcomeError: the connection broke during COMMIT and the checkpoint could not be read to settle it.
        """

    def commit_build(self, commit: BuildCommit) -> int:
        """Swap segments; returns the manifest version. Errors as `commit_landing`."""

    def known_keys(self, dataset_id: int, keys: Sequence[str]) -> dict[str, str]:
        """Of these idempotency keys those already used, with their digests."""

    # --- reading
    def manifest_version(self, dataset_id: int) -> int: ...
    def segments(
        self,
        dataset_id: int,
        *,
        version: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        partition: Partition | None = None,
        with_stats: bool = True,
    ) -> list[Segment]:
        """Live segments at a version (None = newest) whose [min_time, max_time] meets `[start, end)`, by partition and id.

        Fast: 10,000 segments without stats in about 20 ms on SQLite.
        """

    def segment_count(self, dataset_id: int, *, version: int | None = None) -> int:
        """How many live segments a version (None = newest) has."""

    def retracted(self, dataset_id: int, *, version: int | None = None) -> frozenset[int]:
        """Source partitions whose rows readers must leave out at that version."""

    def pin(self, dataset_id: int, *, version: int | None, holder: str, ttl: timedelta) -> tuple[int, Lease]:
        """Pin a version (None = newest) against collection; RefusedError when it has been collected or never was."""

    def pin_with_topics(self, dataset_id: int, *, holder: str, ttl: timedelta) -> tuple[int, Lease, list[TopicPartition]]:
        """Pin the newest version, with the checkpoints of the dataset's topic partitions at exactly that version."""

    def partitions(self, dataset_id: int) -> list[PartitionRecord]:
        """In order of time."""

    def partition(self, dataset_id: int, partition: Partition) -> PartitionRecord | None: ...
    def pending_files(self, dataset_id: int) -> int:
        """Files discovered and not settled (pending or landing)."""

    def request_builds(self, dataset_id: int, partitions: Sequence[Partition], *, reason: str) -> None: ...
    def requested_builds(self, dataset_id: int) -> dict[str, str]:
        """Partition key to reason, for partitions somebody asked to build and that were not built since."""

    def dead_letter_files(self, dataset_id: int, *, settled: bool = False) -> list[tuple[SourceRecord, DeadLetterFile, datetime]]:
        """Objects of records that did not land, oldest first; with `settled` also those that a replay has disposed of."""

    def withdrawn(self, source_partition_ids: Sequence[int]) -> set[int]:
        """Of these those to which nothing may be added now: their rows were replaced, or are a replacement not yet complete."""

    def forwarded(self, dead_letter_ids: Sequence[int]) -> None:
        """These files have been produced to the dead-letter topic."""

    def audit(
        self, *, dataset_ids: Sequence[int] | None = None, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        """The newest rows first, with their datasets' names; only those of these datasets, and older than the row `before`."""

    def throughput(self, dataset_id: int, *, seconds: float) -> dict[int, float]:
        """Landed rows per second by source id over the last so many seconds."""

    # --- outbox
    def claim_events(self, *, holder: str, limit: int, ttl: timedelta) -> list[OutboxEvent]:
        """Undelivered events in order, claimed so that no two relays report the same."""

    def delivered(self, event_ids: Iterable[int]) -> None: ...

    # --- collection
    def expired_intents(self, *, older_than: timedelta) -> list[ObjectName]:
        """Remove intents of dead sessions in one transaction and return their object names (whose files may then go)."""

    def collect_segments(self, *, superseded_before: datetime, limit: int = 1000) -> list[ObjectName]:
        """Forget superseded segments that no rollback window, lease or session needs; return their object names."""

    def known_objects(self, storage: str | None = None) -> set[str]:
        """Every object name the catalog knows (segments of any version, dead letters, intents), of one target or of all."""

    def close(self) -> None: ...
