"""The catalog on SQLite or PostgreSQL: each method one short transaction over the functions of its neighbours."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection

from timestore_assets.catalog import (
    audit,
    build_commit,
    collection,
    datasets,
    file_decisions,
    files,
    landing_commit,
    leases,
    manifest,
    outbox,
    partitions,
    sessions,
    sources,
    topics,
)
from timestore_assets.catalog.chunks import Chunks
from timestore_assets.catalog.database import PATIENCE_SECONDS, Database
from timestore_assets.catalog.declarations import Declarations
from timestore_assets.catalog.ingestions import Ingestions
from timestore_assets.catalog.instants import duration_micros, to_micros
from timestore_assets.catalog.known_segments import KnownSegments
from timestore_assets.catalog.migrate import ensure_current, revision
from timestore_assets.catalog.moving import Moving
from timestore_assets.catalog.partitions import request as request_partitions
from timestore_assets.catalog.policies import Policies
from timestore_assets.catalog.postgres import DEFAULT_LIMITS, PostgresLimits, renew_password
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
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.saved_queries import SavedQueries
from timestore_assets.catalog.tables import HEAD
from timestore_assets.catalog.tokens import Tokens
from timestore_assets.catalog.trimming import Trimming
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.objects import DEFAULT_TARGET, ObjectName
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Partition

T = TypeVar("T")
DEFAULT_SCHEMA = "timestore"


class SqlCatalog:
    """`catalog.port.Catalog`, whose docstrings are the contract. Threads may share one; so may processes after a fork."""

    def __init__(self, database: Database, replica: Replica | None = None) -> None:
        self._database, self.replica = database, replica
        self._known = KnownSegments()
        self.ingestions, self.tokens = Ingestions(database), Tokens(database)
        self.saved_queries, self.declarations = SavedQueries(database), Declarations(database)
        self.policies, self.chunks, self.moving = Policies(database), Chunks(database), Moving(database)
        self.trimming = Trimming(database)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        patience: float = PATIENCE_SECONDS,
        limits: PostgresLimits = DEFAULT_LIMITS,
        read_url: str | None = None,
        renew: Callable[[], str] | None = None,
    ) -> SqlCatalog:
        """Open the catalog behind a `sqlite:` or `postgresql:` URL, making or migrating its tables when that is needed.

        Args:
            schema: PostgreSQL schema that holds the tables.
            patience: seconds to wait for another's transaction.
            read_url: a read replica, for what queries plan by.
            renew: gives the URL again, with the password as it is by then.

        Raises:
            InputError: the URL, the credentials or the file behind it are wrong.
            UnavailableError: the database can't be reached or stays locked.
            RefusedError: a newer version of this package made the catalog.
        """
        database = Database.open(url, schema=schema, patience=patience, limits=limits)
        if renew is not None:
            renew_password(database.engine, renew)
        try:
            replica = Replica.open(read_url, schema=schema, limits=limits) if read_url else None
            ensure_current(database)
        except BaseException:
            database.close()
            raise
        return cls(database, replica)

    def close(self) -> None:
        self._database.close()
        if self.replica is not None:
            self.replica.close()

    @property
    def place(self) -> str:
        return self._database.place

    def is_current(self) -> bool:
        return self._read(revision) == HEAD

    # --- datasets and schemas
    def register(self, dataset: Dataset, *, actor: str) -> DatasetRecord:
        known = self._read(datasets.unchanged, dataset)
        return known or self._timed(lambda c, now: datasets.register(c, dataset, actor=actor, now=now))

    def dataset(self, name: str) -> DatasetRecord | None:
        return self._read(datasets.find, name)

    def datasets(self) -> list[DatasetRecord]:
        return self._read(datasets.listed)

    def schema(self, dataset_id: int, version: int) -> Schema:
        # once there, a schema version is as unchanging as a manifest version: any replica that has it will do
        found = self.replica and self.replica.read(dataset_id, 0, lambda c: datasets.find_schema(c, dataset_id, version))
        return found or self._read(datasets.schema, dataset_id, version)

    def schema_history(self, dataset_id: int) -> list[dict[str, Any]]:
        return self._read(datasets.schema_history, dataset_id)

    # --- sources and files
    def source(self, dataset_id: int, kind: str, address: str) -> SourceRecord:
        found = self._read(sources.find, dataset_id, kind, address)
        return found or self._database.write(lambda c: sources.ensure(c, dataset_id, kind, address))

    def sources(self, dataset_id: int) -> list[SourceRecord]:
        return self._read(sources.listed, dataset_id)

    def source_partition(self, source_id: int, name: str) -> SourcePartition:
        found = self._read(sources.find_partition, source_id, name)
        return found or self._database.write(lambda c: sources.ensure_partition(c, source_id, name))

    def checkpoints(self, source_partition_ids: Sequence[int]) -> dict[int, Position]:
        return self._read(sources.checkpoints, source_partition_ids)

    # --- topics
    def topic_partitions(self, source_id: int) -> list[TopicPartition]:
        return self._read(lambda c: topics.listed(c, source_id, now=self._database.now(c)))

    def open_topic(
        self, source_id: int, *, cluster_id: str, topic: str, epoch: int, topic_id: str | None, starts: Mapping[int, int]
    ) -> list[TopicPartition]:
        key: dict[str, Any] = {"cluster_id": cluster_id, "topic": topic, "epoch": epoch, "topic_id": topic_id}
        return self._timed(lambda c, now: topics.open_topic(c, source_id, **key, starts=starts, now=now))

    def claim(self, session_id: int, source_partition_ids: Sequence[int]) -> set[int]:
        return self._timed(lambda c, now: topics.claim(c, session_id, source_partition_ids, now=now))

    def pause(self, source_id: int, reason: str) -> None:
        self._timed(lambda c, now: topics.pause(c, source_id, reason, now=now))

    def lose(
        self, source_partition_id: int, *, start: int, end: int, reason: str, session_id: int, skip: bool, actor: str
    ) -> LostRange:
        found: dict[str, Any] = {"start": start, "end": end, "reason": reason, "session_id": session_id, "skip": skip}
        return self._once(lambda c, now: topics.lose(c, source_partition_id, **found, actor=actor, now=now))

    def lost_ranges(self, dataset_id: int) -> list[LostRange]:
        return self._read(topics.lost, dataset_id)

    def accept_lost(self, dataset_id: int, *, actor: str) -> int:
        return self._once(lambda c, now: topics.accept(c, dataset_id, actor=actor, now=now))

    # --- files
    def files(self, source_id: int, *, states: Sequence[FileState] | None = None) -> list[FileRecord]:
        return self._read(files.listed, source_id, states=states)

    def file_at(self, source_id: int, address: str) -> FileRecord | None:
        return self._read(files.at, source_id, address)

    def settled_etags(self, source_id: int, addresses: Sequence[str]) -> dict[str, str]:
        return self._read(files.settled_etags, source_id, addresses)

    def observe_file(self, source_id: int, *, address: str, sha256: str, etag: str, size: int, replace: bool) -> FileRecord:
        seen: dict[str, Any] = {"address": address, "sha256": sha256, "etag": etag, "size": size, "replace": replace}
        return self._timed(lambda c, now: file_decisions.observe(c, source_id, **seen, now=now))

    def settle_file(self, file_id: int, state: FileState, *, reason: str = "", counters: Counters = NO_COUNTS) -> None:
        self._settled(
            lambda c, token, now: files.settle(c, file_id, state, reason=reason, counters=counters, token=token, now=now)
        )

    # --- sessions, intents, leases
    def begin_session(self, dataset_id: int, kind: str, *, holder: str, ttl: timedelta) -> int:
        return self._timed(lambda c, now: sessions.begin(c, dataset_id, kind, holder=holder, until=_after(now, ttl), now=now))

    def heartbeat(self, session_id: int, *, ttl: timedelta) -> None:
        self._timed(lambda c, now: sessions.heartbeat(c, session_id, until=_after(now, ttl)))

    def end_session(self, session_id: int) -> None:
        self._timed(lambda c, now: sessions.end(c, session_id, now=now))

    def announce(self, session_id: int, names: Sequence[str], *, storage: str = DEFAULT_TARGET) -> None:
        self._timed(lambda c, now: sessions.announce(c, session_id, names, storage=storage, now=now))

    def acquire(self, resource: str, *, holder: str, ttl: timedelta) -> Lease | None:
        return self._timed(lambda c, now: leases.acquire(c, resource, holder=holder, until=_after(now, ttl), now=now))

    def renew(self, lease: Lease, *, ttl: timedelta) -> Lease | None:
        return self._timed(lambda c, now: leases.renew(c, lease, until=_after(now, ttl), now=now))

    def release(self, lease: Lease) -> None:
        self._database.write(lambda c: leases.release(c, lease))

    # --- the transaction
    def commit_landing(self, commit: LandingCommit) -> int:
        return self._settled(lambda c, token, now: landing_commit.commit(c, commit, token=token, now=now))

    def commit_build(self, commit: BuildCommit) -> int:
        return self._settled(lambda c, token, now: build_commit.commit(c, commit, token=token, now=now))

    def known_keys(self, dataset_id: int, keys: Sequence[str]) -> dict[str, str]:
        return self._read(landing_commit.known_keys, dataset_id, keys)

    # --- reading
    def manifest_version(self, dataset_id: int) -> int:
        return self._read(datasets.manifest_version, dataset_id)

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
        first = None if partition is None else partition.start

        def read(c: Connection) -> list[Segment]:
            found = manifest.matching(c, dataset_id, version=version, start=start, end=end, partition_start=first)
            return self._known.get(c, dataset_id, found, with_stats=with_stats)

        return self._read_at(dataset_id, version, read)

    def segment_count(self, dataset_id: int, *, version: int | None = None) -> int:
        return self._read_at(dataset_id, version, lambda c: manifest.count(c, dataset_id, version=version))

    def retracted(self, dataset_id: int, *, version: int | None = None) -> frozenset[int]:
        return self._read_at(dataset_id, version, lambda c: manifest.retracted(c, dataset_id, version=version))

    def pin(self, dataset_id: int, *, version: int | None, holder: str, ttl: timedelta) -> tuple[int, Lease]:
        return self._timed(lambda c, now: leases.pin(c, dataset_id, version=version, holder=holder, until=_after(now, ttl)))

    def pin_with_topics(self, dataset_id: int, *, holder: str, ttl: timedelta) -> tuple[int, Lease, list[TopicPartition]]:
        def work(c: Connection, now: int) -> tuple[int, Lease, list[TopicPartition]]:
            version, lease = leases.pin(c, dataset_id, version=None, holder=holder, until=_after(now, ttl))
            read = [source.id for source in sources.listed(c, dataset_id) if source.kind == "kafka"]
            return version, lease, [one for source_id in read for one in topics.listed(c, source_id, now=now)]

        return self._timed(work)

    def partitions(self, dataset_id: int) -> list[PartitionRecord]:
        return self._read(partitions.listed, dataset_id)

    def partition(self, dataset_id: int, partition: Partition) -> PartitionRecord | None:
        found = self._read(partitions.listed, dataset_id, start=partition.start)
        return found[0] if found else None

    def pending_files(self, dataset_id: int) -> int:
        return self._read(files.pending, dataset_id)

    def request_builds(self, dataset_id: int, partitions: Sequence[Partition], *, reason: str) -> None:
        self._timed(lambda c, now: request_partitions(c, dataset_id, partitions, reason=reason, now=now))

    def requested_builds(self, dataset_id: int) -> dict[str, str]:
        return self._read(partitions.requested, dataset_id)

    def dead_letter_files(self, dataset_id: int, *, settled: bool = False) -> list[tuple[SourceRecord, DeadLetterFile, datetime]]:
        return self._read(collection.dead_letters, dataset_id, settled=settled)

    def withdrawn(self, source_partition_ids: Sequence[int]) -> set[int]:
        return self._read(sources.withdrawn, source_partition_ids)

    def forwarded(self, dead_letter_ids: Sequence[int]) -> None:
        self._database.write(lambda c: collection.forwarded(c, dead_letter_ids))

    def audit(
        self, *, dataset_ids: Sequence[int] | None = None, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        return self._read(audit.newest, dataset_ids=dataset_ids, limit=limit, before=before)

    def throughput(self, dataset_id: int, *, seconds: float) -> dict[int, float]:
        return self._read(lambda c: sources.throughput(c, dataset_id, seconds=seconds, now=self._database.now(c)))

    # --- outbox
    def claim_events(self, *, holder: str, limit: int, ttl: timedelta) -> list[OutboxEvent]:
        return self._timed(lambda c, now: outbox.claim(c, holder=holder, limit=limit, until=_after(now, ttl), now=now))

    def delivered(self, event_ids: Iterable[int]) -> None:
        ids = list(event_ids)
        if ids:
            self._database.write(lambda c: outbox.forget(c, ids))

    # --- collection
    def expired_intents(self, *, older_than: timedelta) -> list[ObjectName]:
        return self._once(lambda c, now: sessions.expire(c, created_before=now - duration_micros(older_than), now=now))

    def collect_segments(self, *, superseded_before: datetime, limit: int = 1000) -> list[ObjectName]:
        cutoff = to_micros(superseded_before)
        return self._once(lambda c, now: collection.collect(c, superseded_before=cutoff, limit=limit, now=now))

    def known_objects(self, storage: str | None = None) -> set[str]:
        return self._read(collection.known_objects, storage)

    # --- transactions
    def _read(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        return self._database.read(lambda connection: work(connection, *args, **options))

    def _read_at(self, dataset_id: int, version: int | None, work: Callable[[Connection], T]) -> T:
        """A read of what belongs to a manifest version: by the replica when that has come so far, else by the primary."""
        if self.replica is not None and version is not None:
            found = self.replica.read(dataset_id, version, work)
            if found is not None:
                return found
        return self._database.read(work)

    def _timed(self, work: Callable[[Connection, int], T], *, repeatable: bool = True) -> T:
        """A write that is told the time, and may be done twice without harm."""
        return self._database.write(lambda connection: work(connection, self._database.now(connection)), repeatable=repeatable)

    def _once(self, work: Callable[[Connection, int], T]) -> T:
        """A write whose answer would be lost if it were done twice."""
        return self._timed(work, repeatable=False)

    def _settled(self, work: Callable[[Connection, str, int], int]) -> int:
        """A write that must happen exactly once: its audit row tells whether it did when the connection broke."""
        token = uuid.uuid4().hex
        return self._database.write(
            lambda connection: work(connection, token, self._database.now(connection)),
            settle=lambda connection: audit.committed(connection, token),
        )


def _after(now: int, ttl: timedelta) -> int:
    return now + duration_micros(ttl)
