"""Segments and the versions at which they were live; retractions, which hide rows of replaced sources the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, or_, select
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import optional_time, to_micros
from timestore_assets.catalog.key_ranges import KeyRange, may_hold
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.stored_segments import KnownSegments, Listed, ids_text, parse_ids, stats_text
from timestore_assets.catalog.tables import datasets, retractions, segment_stats, segments
from timestore_assets.model.errors import ConflictError, ForgottenError
from timestore_assets.model.retraction import Retracted, Retraction
from timestore_assets.model.segment import NewSegment, Segment, SegmentKind
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
        """Live segments at a version (None = newest) whose [min_time, max_time] meets `[start, end)`, by partition and id."""
        wanted = Wanted(start=start, end=end, partition_start=None if partition is None else partition.start)
        return self.wanted(dataset_id, wanted, version=version, with_stats=with_stats)

    def wanted(self, dataset_id: int, wanted: Wanted, *, version: int | None, with_stats: bool) -> list[Segment]:
        """Live segments at a version (None = newest) that are wanted, by partition and id."""

        def read(c: Connection) -> list[Segment]:
            return self._known.get(c, dataset_id, matching(c, dataset_id, wanted, version=version), with_stats=with_stats)

        return self._read_at(dataset_id, version, read)

    def listed(self, dataset_id: int, wanted: Wanted, *, version: int) -> list[Listed]:
        """A version's live segments that are wanted, by partition and id: by an index alone, for who reads some of them after."""
        return self._read_at(dataset_id, version, lambda c: matching(c, dataset_id, wanted, version=version))

    def of(self, dataset_id: int, listed: Sequence[Listed], *, version: int, with_stats: bool) -> list[Segment]:
        """The segments that were listed of a version, in their order."""
        return self._read_at(dataset_id, version, lambda c: self._known.get(c, dataset_id, listed, with_stats=with_stats))

    def segments_of(self, dataset_id: int, partitions: Sequence[Partition]) -> dict[datetime, list[Segment]]:
        """Live segments of each of these partitions, by its start and in order of their ids, without stats."""
        c = segments.c

        def read(connection: Connection) -> list[Segment]:
            found: list[Listed] = []
            for starts in chunked(sorted({to_micros(one.start) for one in partitions})):
                here = c.dataset_id == dataset_id, c.partition_start.in_(starts), live(None)
                found += _tuples(connection, select(c.id, c.removed_version, c.partition_start).where(*here))
            return self._known.get(connection, dataset_id, sorted(found), with_stats=False)

        held: dict[datetime, list[Segment]] = {one.start: [] for one in partitions}
        for segment in self._database.read(read):
            held[segment.partition_start].append(segment)
        return held

    def waiting(self, dataset_id: int, source_partition_ids: Sequence[int]) -> list[Segment]:
        """Segments that appear once all of one of these source partitions has been read."""
        c = segments.c

        def read(connection: Connection) -> list[Segment]:
            found: list[Listed] = []
            for ids in chunked(source_partition_ids):
                waiting = c.waiting_for.in_(ids), c.added_version.is_(None), c.removed_version.is_(None)
                statement = select(c.id, c.removed_version, c.partition_start).where(c.dataset_id == dataset_id, *waiting)
                found += _tuples(connection, statement.order_by(c.id))
            # not kept: what waits is none of those that never change
            return KnownSegments().get(connection, dataset_id, found, with_stats=False)

        return self._database.read(read)

    def count(self, dataset_id: int, *, version: int | None = None) -> int:
        """How many live segments a version (None = newest) has."""
        counted = select(func.count()).select_from(segments).where(segments.c.dataset_id == dataset_id, live(version))
        return self._read_at(dataset_id, version, lambda c: int(c.execute(counted).scalar_one()))

    def extent(
        self, dataset_id: int, *, version: int | None, start: datetime | None, end: datetime | None
    ) -> tuple[int, datetime | None, datetime | None]:
        """Rows, earliest and latest time of the live segments at a version (None = newest) whose times meet `[start, end)`."""
        c = segments.c
        found = select(func.coalesce(func.sum(c.rows), 0), func.min(c.min_time), func.max(c.max_time))
        found = found.where(c.dataset_id == dataset_id, live(version), *_meets(Wanted(start=start, end=end)))
        rows, first, last = self._read_at(dataset_id, version, lambda connection: tuple(connection.execute(found).one()))
        return int(rows), optional_time(first), optional_time(last)

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

    def retracted(self, dataset_id: int, *, version: int | None = None) -> Retracted:
        """Rows that readers must leave out at that version."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which segments of a version: their times meet `[start, end)`, and their statistics allow keys in the `ranges`.

    `partition_start`: of this partition alone. `first_partition`: no earlier one can meet the times.
    """

    start: datetime | None = None
    end: datetime | None = None
    partition_start: datetime | None = None
    first_partition: datetime | None = None
    ranges: tuple[KeyRange, ...] = ()


def matching(connection: Connection, dataset_id: int, wanted: Wanted, *, version: int | None) -> list[Listed]:
    """The segments of a version (None = newest) that are wanted, by partition and id."""
    c = segments.c
    statement = select(c.id, c.removed_version, c.partition_start).where(c.dataset_id == dataset_id, *_meets(wanted))
    if wanted.ranges:
        statement = statement.outerjoin_from(segments, segment_stats).where(*may_hold(connection, wanted.ranges))
    if version is None:
        ordered = statement.where(live(None)).order_by(c.partition_start, c.id)
        return _tuples(connection, ordered)
    # two ranges of one index, however many superseded segments wait for the collector
    then = statement.where(c.added_version <= version)
    still = _tuples(connection, then.where(c.removed_version.is_(None)).order_by(c.partition_start, c.id))
    since_gone = _tuples(connection, then.where(c.removed_version > version))
    if since_gone:
        still = sorted([*still, *since_gone], key=lambda row: (row[2], row[0]))
    return still


def _meets(wanted: Wanted) -> list[ColumnElement[bool]]:
    c = segments.c
    found: list[ColumnElement[bool]] = []
    if wanted.partition_start is not None:
        found.append(c.partition_start == to_micros(wanted.partition_start))
    if wanted.first_partition is not None:
        found.append(c.partition_start >= to_micros(wanted.first_partition))
    if wanted.start is not None:
        found.append(c.max_time >= to_micros(wanted.start))
    if wanted.end is not None:
        # no row is older than its partition; said as well, it is a range of the index
        found += [c.min_time < to_micros(wanted.end), c.partition_start < to_micros(wanted.end)]
    return found


def _tuples(connection: Connection, statement: Select[Any]) -> list[tuple[Any, ...]]:
    """The driver's own rows: for ten thousand of them SQLAlchemy's cost more than the database does."""
    result = connection.execute(statement)
    return list(result.cursor.fetchall()) if result.cursor else []


def retracted(connection: Connection, dataset_id: int, *, version: int | None) -> Retracted:
    c = retractions.c
    then: ColumnElement[bool] = c.removed_version.is_(None)
    if version is not None:
        then = and_(c.added_version <= version, or_(then, c.removed_version > version))
    rows = connection.execute(select(retractions).where(c.dataset_id == dataset_id, then))
    return frozenset(
        Retraction(source=row.source_partition_id, first=row.first_position, end=row.end_position, last_session=row.last_session)
        for row in rows
    )


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
    _insert(connection, dataset, [(segment, version) for segment in new], waiting_for=waiting_for, now=now)


def add_each(connection: Connection, dataset: Row[Any], new: Sequence[tuple[NewSegment, int]], *, now: int) -> None:
    """Insert segments, each live from a version of its own on."""
    _insert(connection, dataset, new, waiting_for=None, now=now)


def _insert(
    connection: Connection,
    dataset: Row[Any],
    added: Sequence[tuple[NewSegment, int | None]],
    *,
    waiting_for: int | None,
    now: int,
) -> None:
    def row(segment: NewSegment, version: int | None) -> dict[str, Any]:
        appears = {"waiting_for": waiting_for, "added_version": version, "added_at": None if version is None else now}
        return _row(segment, dataset) | appears

    # asking for the ids of thousands of rows takes longer than all else about them
    if plain := [row(*one) for one in added if not one[0].stats]:
        connection.execute(segments.insert(), plain)
    described = [one for one in added if one[0].stats]
    if described:
        inserted = segments.insert().returning(segments.c.id, sort_by_parameter_order=True)
        ids = connection.execute(inserted, [row(*one) for one in described]).scalars()
        stats = [
            {"segment_id": segment_id, "stats": stats_text(segment.stats)}
            for segment_id, (segment, _) in zip(ids, described, strict=True)
        ]
        connection.execute(segment_stats.insert(), stats)


_SHOW_WAITING = (
    segments.update()
    .where(
        segments.c.waiting_for == bindparam("of_partition"),
        segments.c.added_version.is_(None),
        segments.c.removed_version.is_(None),
    )
    .values(added_version=bindparam("shown_from"), added_at=bindparam("shown_at"), waiting_for=None)
    .returning(segments.c.partition_start)
)


def publish_waiting(connection: Connection, source_partition_id: int, *, version: int, now: int) -> list[int]:
    """Let the waiting segments of a source partition appear; returns the partition starts they are in."""
    values = {"of_partition": source_partition_id, "shown_from": version, "shown_at": now}
    return list(connection.execute(_SHOW_WAITING, values).scalars())


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


class LiveSegment(NamedTuple):
    """What a commit has to know of a segment that it finds in a partition."""

    kind: SegmentKind
    rows: int


def live_in(connection: Connection, dataset_id: int, partition_starts: Iterable[int]) -> dict[int, dict[int, LiveSegment]]:
    """The live segments of partitions, by start and id."""
    c = segments.c
    found: dict[int, dict[int, LiveSegment]] = {}
    for starts in chunked(sorted(set(partition_starts))):
        here = c.dataset_id == dataset_id, c.partition_start.in_(starts), live(None)
        for row in connection.execute(select(c.id, c.partition_start, c.kind, c.rows).where(*here)):
            found.setdefault(row.partition_start, {})[row.id] = LiveSegment(row.kind, row.rows)
    return found


def supersede_each(connection: Connection, gone: Sequence[tuple[int, int]], *, now: int) -> None:
    """Take segments, of which it is known under the dataset's lock that they are live, out of the manifest: (id, version)."""
    c = segments.c
    each = segments.update().where(c.id == bindparam("gone")).values(removed_version=bindparam("at_version"), removed_at=now)
    connection.execute(each, [{"gone": segment_id, "at_version": version} for segment_id, version in gone])


_SET_VERSION = (
    datasets.update()
    .where(datasets.c.id == bindparam("of_dataset"))
    .values(manifest_version=bindparam("newest"), updated_at=bindparam("set_at"))
)


def set_version(connection: Connection, dataset_id: int, version: int, *, now: int) -> None:
    connection.execute(_SET_VERSION, {"of_dataset": dataset_id, "newest": version, "set_at": now})


def retract(connection: Connection, dataset_id: int, gone: Iterable[Retraction], *, version: int) -> list[int]:
    """Hide rows from `version` on; returns the ids of the retractions."""
    rows = [
        {
            "dataset_id": dataset_id,
            "source_partition_id": one.source,
            "first_position": one.first,
            "end_position": one.end,
            "last_session": one.last_session,
            "added_version": version,
        }
        for one in gone
    ]
    if not rows:
        return []
    inserted = retractions.insert().returning(retractions.c.id, sort_by_parameter_order=True)
    return list(connection.execute(inserted, rows).scalars())


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


def finish_retractions(connection: Connection, dataset_id: int, losing: Collection[int], *, version: int) -> None:
    """Forget retractions of which no live segment holds a row: readers from `version` on need not filter them.

    A source partition that was retracted as a whole is done when no live segment lists it. Of a range that tells nothing: what
    is left of its source partition is listed on. But each partition that held rows of it was marked `retracted` by the very
    transaction that made it, and only a build that left out all retractions of its time unmarks one, see `left_behind`. So a
    range is done when no marked partition has a segment that lists its source partition. Another retraction's mark may delay
    that, never hasten it.

    Args:
        losing: starts of the partitions that are marked.
    """
    c = retractions.c
    open_rows = connection.execute(select(retractions).where(c.dataset_id == dataset_id, c.removed_version.is_(None))).all()
    by_start = holding(connection, dataset_id, {row.source_partition_id for row in open_rows})
    held = set().union(*by_start.values())
    marked = set().union(*(sources for start, sources in by_start.items() if start in losing))
    done = [row.id for row in open_rows if row.source_partition_id not in (held if _is_whole(row) else marked)]
    for ids in chunked(done):
        connection.execute(retractions.update().where(c.id.in_(ids)).values(removed_version=version))


def left_behind(connection: Connection, dataset_id: int, partition_start: int) -> bool:
    """Whether live segments of a partition may hold retracted rows, once its build has replaced what it read.

    What lists a source partition retracted as a whole does. What lists one with a retracted range may unless it is younger than
    the retraction: a build's own result has left the range out (`require_unchanged`), and what lands later is outside of it.
    """
    c, r = segments.c, retractions.c
    rows = connection.execute(select(retractions).where(r.dataset_id == dataset_id, r.removed_version.is_(None))).all()
    if not rows:
        return False
    here = c.dataset_id == dataset_id, c.partition_start == partition_start, live(None), c.source_ids != ""
    # of one that a rollback has brought back it counts when it was built
    born = func.coalesce(c.first_version, c.added_version)
    for added, text in connection.execute(select(born, c.source_ids).where(*here)):
        listed = set(parse_ids(text))
        if any(row.source_partition_id in listed and (_is_whole(row) or added <= row.added_version) for row in rows):
            return True
    return False


def require_unchanged(connection: Connection, dataset_id: int, replaced: Collection[int], *, since: int) -> None:
    """Refuse a build that did not know of a retraction, or of one that was taken back, of rows in the segments it replaces.

    Raises:
        ConflictError: retractions of their source partitions have changed since that version.
    """
    c = segments.c
    changed = changed_sources(connection, dataset_id, since=since)
    if not changed:
        return
    for ids in chunked(sorted(set(replaced))):
        for text in connection.execute(select(c.source_ids).where(c.id.in_(ids))).scalars():
            if not text or changed.intersection(parse_ids(text)):
                raise ConflictError("rows of these segments were retracted, or taken back, meanwhile; plan this build again")


def changed_sources(connection: Connection, dataset_id: int, *, since: int) -> set[int]:
    """Source partitions whose retractions are others than at that version."""
    r = retractions.c
    newer = or_(r.added_version > since, r.removed_version > since)
    known = select(r.source_partition_id).where(r.dataset_id == dataset_id, newer)
    return set(connection.execute(known).scalars())


def _is_whole(row: Row[Any]) -> bool:
    return row.first_position is None and row.end_position is None and row.last_session is None


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
        "first_row": segment.first_row,
        "object_bytes": segment.object_bytes,
    }
