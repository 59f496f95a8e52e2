"""Segments and the versions at which they were live; retractions, which hide rows of replaced sources the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.stored_segments import KnownSegments, ids_text, parse_ids, stats_text
from timestore_assets.catalog.tables import datasets, retractions, segment_stats, segments
from timestore_assets.model.errors import ConflictError, ForgottenError
from timestore_assets.model.segment import NewSegment, Segment
from timestore_assets.model.window import Partition

T = TypeVar("T")


class Manifest:
    """Each method is one short transaction."""

    def __init__(self, database: Database, replica: Replica | None) -> None:
        self._database, self._replica = database, replica
        self._known = KnownSegments()

    def version(self, dataset_id: int) -> int:
        """The newest."""
        newest = select(datasets.c.manifest_version).where(datasets.c.id == dataset_id)
        version: int | None = self._database.read(lambda c: c.execute(newest).scalar())
        if version is None:
            raise ForgottenError(f"the catalog has no dataset {dataset_id}")
        return version

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
        first = None if partition is None else partition.start

        def read(c: Connection) -> list[Segment]:
            conditions = matching(c, dataset_id, version=version, start=start, end=end, partition_start=first)
            return self._known.get(c, dataset_id, conditions, with_stats=with_stats)

        return self._read_at(dataset_id, version, read)

    def count(self, dataset_id: int, *, version: int | None = None) -> int:
        """How many live segments a version (None = newest) has."""
        counted = select(func.count()).select_from(segments).where(segments.c.dataset_id == dataset_id, live(version))
        return self._read_at(dataset_id, version, lambda c: int(c.execute(counted).scalar_one()))

    def digests(self, segment_ids: Sequence[int]) -> dict[int, str]:
        """SHA-256 of these segments' bytes as they were committed, by id; those of before there were digests are left out."""
        s = segments.c

        def read(c: Connection) -> dict[int, str]:
            found: dict[int, str] = {}
            for ids in chunked(segment_ids):
                rows = c.execute(select(s.id, s.sha256).where(s.id.in_(ids), s.sha256.is_not(None)))
                found.update((row.id, row.sha256) for row in rows)
            return found

        return self._database.read(read)

    def retracted(self, dataset_id: int, *, version: int | None = None) -> frozenset[int]:
        """Source partitions whose rows readers must leave out at that version."""
        return self._read_at(dataset_id, version, lambda c: retracted(c, dataset_id, version=version))

    def _read_at(self, dataset_id: int, version: int | None, work: Callable[[Connection], T]) -> T:
        """A read of what belongs to a manifest version: by the replica when that has come so far, else by the primary."""
        if self._replica is not None and version is not None:
            found = self._replica.read(dataset_id, version, work)
            if found is not None:
                return found
        return self._database.read(work)


def live(version: int | None) -> ColumnElement[bool]:
    """Condition: a segment belongs to that manifest version (None = newest)."""
    c = segments.c
    if version is None:
        return and_(c.removed_version.is_(None), c.added_version.is_not(None))
    return and_(c.added_version <= version, or_(c.removed_version.is_(None), c.removed_version > version))


def matching(
    connection: Connection,
    dataset_id: int,
    *,
    version: int | None,
    start: datetime | None,
    end: datetime | None,
    partition_start: datetime | None,
) -> list[tuple[int, int | None]]:
    """Id and removed version of a version's segments whose times meet `[start, end)`, by partition and id."""
    c = segments.c
    statement = select(c.id, c.removed_version, c.partition_start).where(c.dataset_id == dataset_id)
    if partition_start is not None:
        statement = statement.where(c.partition_start == to_micros(partition_start))
    if start is not None:
        statement = statement.where(c.max_time >= to_micros(start))
    if end is not None:
        statement = statement.where(c.min_time < to_micros(end))
    if version is None:
        ordered = statement.where(live(None)).order_by(c.partition_start, c.id)
        return [(row[0], row[1]) for row in _tuples(connection, ordered)]
    # two ranges of one index, however many superseded segments wait for the collector
    then = statement.where(c.added_version <= version)
    still = _tuples(connection, then.where(c.removed_version.is_(None)).order_by(c.partition_start, c.id))
    since_gone = _tuples(connection, then.where(c.removed_version > version))
    if since_gone:
        still = sorted([*still, *since_gone], key=lambda row: (row[2], row[0]))
    return [(row[0], row[1]) for row in still]


def _tuples(connection: Connection, statement: Select[Any]) -> list[tuple[Any, ...]]:
    """The driver's own rows: for ten thousand of them SQLAlchemy's cost more than the database does."""
    result = connection.execute(statement)
    return list(result.cursor.fetchall()) if result.cursor else []


def retracted(connection: Connection, dataset_id: int, *, version: int | None) -> frozenset[int]:
    c = retractions.c
    then: ColumnElement[bool] = c.removed_version.is_(None)
    if version is not None:
        then = and_(c.added_version <= version, or_(then, c.removed_version > version))
    return frozenset(connection.execute(select(c.source_partition_id).where(c.dataset_id == dataset_id, then)).scalars())


def add(
    connection: Connection,
    dataset: Row[Any],
    new: Sequence[NewSegment],
    *,
    version: int | None,
    waiting_for: int | None,
    now: int,
) -> None:
    """Insert segments, live from `version` on, or waiting until that of `waiting_for` is complete when it is None."""
    if not new:
        return
    rows = [
        _row(segment, dataset)
        | {"waiting_for": waiting_for, "added_version": version, "added_at": None if version is None else now}
        for segment in new
    ]
    ids = connection.execute(segments.insert().returning(segments.c.id, sort_by_parameter_order=True), rows).scalars()
    stats = [
        {"segment_id": segment_id, "stats": stats_text(segment.stats)}
        for segment_id, segment in zip(ids, new, strict=True)
        if segment.stats
    ]
    if stats:
        connection.execute(segment_stats.insert(), stats)


def publish_waiting(connection: Connection, source_partition_id: int, *, version: int, now: int) -> list[int]:
    """Let the waiting segments of a source partition appear; returns the partition starts they are in."""
    c = segments.c
    waiting = segments.update().where(
        c.waiting_for == source_partition_id, c.added_version.is_(None), c.removed_version.is_(None)
    )
    shown = waiting.values(added_version=version, added_at=now, waiting_for=None).returning(c.partition_start)
    return list(connection.execute(shown).scalars())


def abandon_waiting(connection: Connection, source_partition_ids: Iterable[int], *, version: int, now: int) -> None:
    """Give waiting segments up to the collector; no version ever shows them."""
    c = segments.c
    for ids in chunked(source_partition_ids):
        waiting = segments.update().where(c.waiting_for.in_(ids), c.added_version.is_(None), c.removed_version.is_(None))
        connection.execute(waiting.values(removed_version=version, removed_at=now))


def supersede(
    connection: Connection, dataset_id: int, partition_start: int, ids: Collection[int], *, version: int, now: int
) -> int:
    """Take exactly these live segments of a partition out of the manifest; returns their rows.

    Raises:
        ConflictError: one of them was not live any more.
    """
    c = segments.c
    rows: list[int] = []
    for chunk in chunked(sorted(set(ids))):
        mine = segments.update().where(
            c.id.in_(chunk), c.dataset_id == dataset_id, c.partition_start == partition_start, live(None)
        )
        rows += connection.execute(mine.values(removed_version=version, removed_at=now).returning(c.rows)).scalars()
    if len(rows) < len(set(ids)):
        raise ConflictError("another build has replaced some of these segments; plan this build again")
    return sum(rows)


def set_version(connection: Connection, dataset_id: int, version: int, *, now: int) -> None:
    connection.execute(datasets.update().where(datasets.c.id == dataset_id).values(manifest_version=version, updated_at=now))


def retract(connection: Connection, dataset_id: int, source_partition_ids: Iterable[int], *, version: int) -> None:
    rows = [{"dataset_id": dataset_id, "source_partition_id": gone, "added_version": version} for gone in source_partition_ids]
    if rows:
        connection.execute(retractions.insert(), rows)


def holding(
    connection: Connection, dataset_id: int, sources: Collection[int], *, partition_start: int | None = None
) -> dict[int, set[int]]:
    """Of these source partitions, which ones live segments hold rows of, by partition start.

    Reads the source lists of all live segments: retractions are rare, an index of every (segment, source) would not be.
    """
    if not sources:
        return {}
    c = segments.c
    statement = select(c.partition_start, c.source_ids).where(c.dataset_id == dataset_id, live(None), c.source_ids != "")
    if partition_start is not None:
        statement = statement.where(c.partition_start == partition_start)
    by_start: dict[int, set[int]] = {}
    for start, ids in connection.execute(statement):
        if held_here := set(sources).intersection(parse_ids(ids)):
            by_start.setdefault(start, set()).update(held_here)
    return by_start


def forget_retractions(connection: Connection, dataset_id: int, source_partition_ids: Iterable[int], *, version: int) -> None:
    """Builds have dropped every row of these: readers from `version` on need not filter them."""
    c = retractions.c
    for ids in chunked(source_partition_ids):
        done = retractions.update().where(c.dataset_id == dataset_id, c.source_partition_id.in_(ids), c.removed_version.is_(None))
        connection.execute(done.values(removed_version=version))


def _row(segment: NewSegment, dataset: Row[Any]) -> dict[str, Any]:
    return {
        "dataset_id": dataset.id,
        "partition_start": to_micros(segment.partition_start),
        "name": segment.name,
        "kind": segment.kind,
        "format": segment.format,
        "storage": segment.storage,
        "rows": segment.rows,
        "bytes": segment.bytes,
        "min_time": to_micros(segment.min_time),
        "max_time": to_micros(segment.max_time),
        "schema_version": segment.schema_version,
        "level": segment.level,
        "semantic_key": None if segment.semantic_key is None else json.dumps(segment.semantic_key),
        "sorted_by": json.dumps(segment.sorted_by),
        "deduplicated": segment.deduplicated,
        "source_ids": ids_text(segment.source_ids),
        "content_hash": segment.content_hash,
        "sha256": segment.sha256,
    }
