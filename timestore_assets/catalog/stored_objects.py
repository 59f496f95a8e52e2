"""Objects that the catalog knows: where they are and where copies of them go, and which may be deleted.

Those are superseded segments, what dead sessions left, and what still waits for its file to be deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, Table, and_, case, delete, exists, func, or_, select, true, union_all
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import duration_micros, from_micros, to_micros
from timestore_assets.catalog.leases import forget_expired, held
from timestore_assets.catalog.portable import chunked, insert_ignore, upsert
from timestore_assets.catalog.sessions import alive, fulfil
from timestore_assets.catalog.tables import (
    archives,
    collected_objects,
    dead_letter_files,
    intents,
    partitions,
    policies,
    segment_stats,
    segments,
    sessions,
    source_partitions,
)
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.model.segment import ObjectName
from timestore_assets.model.window import Partition


class StoredObjects:
    """Each method is one short transaction. What is collected is remembered until it is told that the files are deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, storage: str | None = None) -> set[str]:
        """Every object name the catalog knows (segments of any version, dead letters, intents), of one target or of all."""
        tables = (segments, dead_letter_files, intents, archives)
        selects = [select(table.c.name) for table in tables]
        if storage is not None:
            selects = [one.where(table.c.storage == storage) for one, table in zip(selects, tables, strict=True)]
        return self._database.read(lambda c: set(c.execute(union_all(*selects)).scalars()))

    def collect_segments(
        self, *, superseded_before: datetime, of_datasets: Mapping[int, datetime] | None = None, limit: int = 1000
    ) -> list[ObjectName]:
        """Forget superseded segments that no rollback window, lease or session needs; return their object names.

        `of_datasets`: other times for some datasets, by their id. What was erased goes whenever it was superseded.
        """
        cutoff = to_micros(superseded_before)
        own = {dataset_id: to_micros(before) for dataset_id, before in (of_datasets or {}).items()}
        return self._database.timed(
            lambda c, now: collect_segments(c, superseded_before=cutoff, of_datasets=own, limit=limit, now=now), repeatable=False
        )

    def collect_intents(self, *, older_than: timedelta) -> list[ObjectName]:
        """Forget intents of dead sessions and return their object names (whose files may then go)."""
        age = duration_micros(older_than)
        return self._database.timed(lambda c, now: collect_intents(c, created_before=now - age, now=now), repeatable=False)

    def collected(self) -> list[ObjectName]:
        """Objects that were forgotten and whose files may still be there."""
        c = collected_objects.c
        return self._database.read(lambda connection: [ObjectName(*row) for row in connection.execute(select(c.storage, c.name))])

    def deleted(self, objects: Iterable[ObjectName]) -> None:
        """The files of these are gone."""
        by_target: dict[str, list[str]] = {}
        for object_name in objects:
            by_target.setdefault(object_name.storage, []).append(object_name.name)

        def work(connection: Connection) -> None:
            c = collected_objects.c
            for storage, names in sorted(by_target.items()):
                for chunk in chunked(sorted(names)):
                    connection.execute(delete(collected_objects).where(c.storage == storage, c.name.in_(chunk)))

        if by_target:
            self._database.write(work)


def collect_segments(
    connection: Connection, *, superseded_before: int, limit: int, now: int, of_datasets: Mapping[int, int] | None = None
) -> list[ObjectName]:
    """Forget superseded segments, see `StoredObjects.collect_segments`; expired leases go with them."""
    forget_expired(connection, now=now)
    c = segments.c
    old = _let_go(superseded_before, of_datasets or {})
    locked = connection.execute(select(c.dataset_id).where(old).distinct().order_by(c.dataset_id)).scalars().all()
    for dataset_id in locked:
        # a pin takes the same lock, so none can appear between the question and the answer
        datasets.lock_any(connection, dataset_id)
    pinned = held(c.dataset_id, c.added_version, c.removed_version)
    session = sessions.c
    in_use = exists().where(and_(session.dataset_id == c.dataset_id, session.started_at <= c.removed_at, alive(now)))
    superseded = select(segments).where(old, c.dataset_id.in_(locked), ~pinned, ~in_use).order_by(c.removed_version, c.id)
    # rows whose objects live on free nothing; who asks goes on until there is nothing more to free
    while free := connection.execute(superseded.limit(limit)).all():
        if gone := _forget(connection, free):
            note_collected(connection, gone)
            return gone
    return []


def _forget(connection: Connection, free: Sequence[Row[Any]]) -> list[ObjectName]:
    """Forget these superseded lives; returns the objects that no other row names."""
    newest_gone: dict[int, int] = {}
    for row in free:
        if row.added_version is not None:
            newest_gone[row.dataset_id] = max(row.removed_version, newest_gone.get(row.dataset_id, 0))
    d = datasets_table.c
    for dataset_id, version in newest_gone.items():
        raised = datasets_table.update().where(d.id == dataset_id, d.collected_version < version)
        connection.execute(raised.values(collected_version=version))
    delete_rows(connection, [row.id for row in free])
    gone = unnamed(connection, (ObjectName(row.storage, row.name) for row in free))
    _note_landings(connection, [row for row in free if row.kind == "delta" and row.level == 0])
    return gone


def _let_go(superseded_before: int, of_datasets: Mapping[int, int]) -> ColumnElement[bool]:
    """Condition: the rollback window of a segment's dataset is over for it, or what it held was erased."""
    c, d = segments.c, datasets_table.c
    cutoff = case(of_datasets, value=c.dataset_id, else_=superseded_before) if of_datasets else superseded_before
    floor = select(d.floor_version).where(d.id == c.dataset_id).scalar_subquery()
    return or_(c.removed_at < cutoff, and_(c.removed_version.is_not(None), c.removed_version <= floor))


def delete_rows(connection: Connection, segment_ids: Iterable[int]) -> None:
    """Forget lives of segments, with their statistics."""
    for ids in chunked(segment_ids):
        connection.execute(delete(segment_stats).where(segment_stats.c.segment_id.in_(ids)))
        connection.execute(delete(segments).where(segments.c.id.in_(ids)))


def unnamed(connection: Connection, objects: Iterable[ObjectName]) -> list[ObjectName]:
    """Of these objects, each once, those that no segment row names: one may have been live more than once."""
    c = segments.c
    asked = list(dict.fromkeys(objects))
    named: set[ObjectName] = set()
    for names in chunked(one.name for one in asked):
        rows = connection.execute(select(c.storage, c.name).where(c.name.in_(names)).distinct())
        named.update(ObjectName(*row) for row in rows)
    return [one for one in asked if one not in named]


def _note_landings(connection: Connection, gone: Sequence[Row[Any]]) -> None:
    """Remember how new the deltas as landed were that can't come back: what merged them is all there is of their rows.

    One whose object is kept for the rows of another partition can't come back either.
    """
    newest: dict[tuple[int, int], int] = {}
    lives = _with_lives(connection, gone)
    landed = [row for row in gone if row.added_version is not None and (row.name, row.partition_start) not in lives]
    closed = _closed(connection, {source for row in landed for source in _source_ids(row)})
    for row in landed:
        if not _source_ids(row) or not closed.issuperset(_source_ids(row)):  # else other content took their place
            place, first = (row.dataset_id, row.partition_start), row.first_version or row.added_version
            newest[place] = max(first, newest.get(place, 0))
    p = partitions.c
    for (dataset_id, start), first in newest.items():
        older = or_(p.landing_collected.is_(None), p.landing_collected < first)
        here = partitions.update().where(p.dataset_id == dataset_id, p.start == start, older)
        connection.execute(here.values(landing_collected=first))


def _with_lives(connection: Connection, gone: Sequence[Row[Any]]) -> set[tuple[str, int]]:
    """Of these segments, by name and partition start, those that there is another life of."""
    c, found = segments.c, set[tuple[str, int]]()
    for names in chunked({row.name for row in gone}):
        rows = connection.execute(select(c.name, c.partition_start).where(c.name.in_(names)).distinct())
        found.update((row.name, row.partition_start) for row in rows)
    return found


def _source_ids(row: Row[Any]) -> list[int]:
    return [int(one) for one in row.source_ids.split(",") if one]


def _closed(connection: Connection, source_partition_ids: Iterable[int]) -> set[int]:
    p, found = source_partitions.c, set[int]()
    for ids in chunked(sorted(source_partition_ids)):
        found.update(connection.execute(select(p.id).where(p.id.in_(ids), p.retracted_version.is_not(None))).scalars())
    return found


def collect_intents(connection: Connection, *, created_before: int, now: int) -> list[ObjectName]:
    """Remove old intents of dead sessions; returns their names."""
    dead = select(sessions.c.id).where(or_(sessions.c.ended_at.is_not(None), sessions.c.expires_at <= now))
    old = delete(intents).where(intents.c.created_at < created_before, intents.c.session_id.in_(dead))
    gone = sorted(ObjectName(*row) for row in connection.execute(old.returning(intents.c.storage, intents.c.name)))
    note_collected(connection, gone)
    return gone


def note_collected(connection: Connection, objects: Sequence[ObjectName]) -> None:
    """Remember objects whose rows go in this transaction until their files are gone too."""
    for chunk in chunked(objects):
        insert_ignore(connection, collected_objects, *({"storage": one.storage, "name": one.name} for one in chunk))


MovedKind = Literal["segment", "dead_letters", "archive"]
_TABLES: dict[MovedKind, Table] = {"segment": segments, "dead_letters": dead_letter_files, "archive": archives}
_MOVES = "moves"
"""Policy whose version counts the switches of a dataset, so that whoever remembers its segments knows when to forget them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """An object of a dataset: a segment, live, superseded or not yet published, a file of dead letters, or an archive.

    `id`: of its row, the first one if it was live more than once.

    `sha256`: digest of its bytes in hex, None for one of before there were digests.
    """

    kind: MovedKind
    id: int
    storage: str
    name: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetContents:
    """What a dataset has in one storage target."""

    objects: int
    bytes: int


class Moving:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def held(self, dataset_id: int) -> dict[str, TargetContents]:
        """What a dataset has in each storage target that holds anything of it."""
        return self._database.read(lambda connection: _held(connection, dataset_id))

    def elsewhere(self, dataset_id: int, target: str, *, limit: int, partition: Partition | None = None) -> list[StoredFile]:
        """Objects of a dataset that are not in a target, the oldest first; with a partition its live segments alone."""
        if partition is not None:
            return self._database.read(lambda connection: _live_elsewhere(connection, dataset_id, target, limit, partition))
        return self._database.read(lambda connection: _elsewhere(connection, dataset_id, target, limit))

    def places(self, dataset_id: int) -> dict[datetime, dict[str, TargetContents]]:
        """What the live segments of each partition are, by its start and storage target."""
        c = segments.c
        live = (c.dataset_id == dataset_id, c.removed_version.is_(None), c.added_version.is_not(None))
        grouped = select(c.partition_start, c.storage, func.count(), func.sum(c.bytes)).where(*live)

        def read(connection: Connection) -> dict[datetime, dict[str, TargetContents]]:
            found: dict[datetime, dict[str, TargetContents]] = defaultdict(dict)
            for start, storage, objects, size in connection.execute(grouped.group_by(c.partition_start, c.storage)):
                found[from_micros(start)][storage] = TargetContents(objects=objects, bytes=int(size))
            return found

        return self._database.read(read)

    def switch(
        self, session_id: int, copies: Mapping[StoredFile, str], *, dataset_id: int, target: str, actor: str
    ) -> list[StoredFile]:
        """Let copies, announced by this session under these names in the target, stand for the objects they are of; audited.

        Only where the object is still what and where it was; returns those. The manifest version stays, for the content does.
        The old objects stay known as if this session had announced them now, so the collector removes them after the time that
        it leaves to readers.
        """

        def work(connection: Connection) -> list[StoredFile]:
            now = self._database.now(connection)
            datasets.lock(connection, dataset_id)
            switched = [file for file, name in copies.items() if _placed(connection, file, ObjectName(target, name))]
            if switched:
                fulfil(connection, session_id, [copies[file] for file in switched])
                _leave(connection, session_id, switched, now=now)
                count_move(connection, dataset_id, actor=actor, now=now)
                details = {"to": target, "from": _summed(switched)}
                audit.record(connection, dataset_id, actor=actor, action="objects_moved", details=details, now=now)
            return switched

        return self._database.write(work)


def moves(connection: Connection, dataset_id: int) -> int:
    """How often objects of a dataset were switched."""
    c = policies.c
    statement = select(c.version).where(c.dataset_id == dataset_id, c.kind == _MOVES)
    return connection.execute(statement).scalar() or 0


def _held(connection: Connection, dataset_id: int) -> dict[str, TargetContents]:
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for table in _TABLES.values():
        c = table.c
        # an object counts once, however often it was live, and whatever shares it
        size = _size(table).label("bytes")
        there = select(c.storage, c.name, size).where(c.dataset_id == dataset_id, in_a_target(table)).distinct().subquery()
        statement = select(there.c.storage, func.count(), func.sum(there.c.bytes)).group_by(there.c.storage)
        for storage, objects, size in connection.execute(statement):
            found[storage].append((objects, int(size)))
    return {
        storage: TargetContents(objects=sum(objects for objects, _ in held), bytes=sum(size for _, size in held))
        for storage, held in sorted(found.items())
    }


def _elsewhere(connection: Connection, dataset_id: int, target: str, limit: int) -> list[StoredFile]:
    found: list[StoredFile] = []
    for kind, table in _TABLES.items():
        c = table.c
        first, size = func.min(c.id).label("id"), _size(table)
        away = select(first, c.storage, c.name, size.label("bytes"), c.sha256).where(
            c.dataset_id == dataset_id, c.storage != target, in_a_target(table)
        )
        each = away.group_by(c.storage, c.name, size, c.sha256).order_by(first)
        rows = connection.execute(each.limit(limit - len(found)))
        found += [
            StoredFile(kind=kind, id=row.id, storage=row.storage, name=row.name, bytes=row.bytes, sha256=row.sha256)
            for row in rows
        ]
    return found


def in_a_target(table: Table) -> ColumnElement[bool]:
    """Condition: the object of a row lies in a storage target; archives may lie in a folder outside of all, by its full path."""
    return ~table.c.storage.startswith("/") if table is archives else true()


def _size(table: Table) -> ColumnElement[int]:
    """Bytes of a row's whole object."""
    return func.coalesce(segments.c.object_bytes, segments.c.bytes) if table is segments else table.c.bytes


def _live_elsewhere(connection: Connection, dataset_id: int, target: str, limit: int, partition: Partition) -> list[StoredFile]:
    c = segments.c
    away = select(c.id, c.storage, c.name, _size(segments).label("bytes"), c.sha256).where(
        c.dataset_id == dataset_id,
        c.partition_start == to_micros(partition.start),
        c.storage != target,
        c.removed_version.is_(None),
        c.added_version.is_not(None),
    )
    rows = connection.execute(away.order_by(c.id).limit(limit))
    return [
        StoredFile(kind="segment", id=row.id, storage=row.storage, name=row.name, bytes=row.bytes, sha256=row.sha256)
        for row in rows
    ]


def _placed(connection: Connection, file: StoredFile, to: ObjectName) -> bool:
    table = _TABLES[file.kind]
    c = table.c
    # in all its lives, one of which may have begun since it was listed
    same = table.update().where(c.storage == file.storage, c.name == file.name)
    return connection.execute(same.values(storage=to.storage, name=to.name)).rowcount > 0


def _leave(connection: Connection, session_id: int, files: Sequence[StoredFile], *, now: int) -> None:
    rows = [{"name": file.name, "session_id": session_id, "created_at": now, "storage": file.storage} for file in files]
    for chunk in chunked(rows):
        connection.execute(intents.insert(), chunk)


def count_move(connection: Connection, dataset_id: int, *, actor: str, now: int) -> None:
    row = {"dataset_id": dataset_id, "kind": _MOVES, "value": "{}", "actor": actor, "version": 1, "updated_at": now}
    set_: dict[str, Any] = {"version": lambda old, _new: old.version + 1, "updated_at": lambda _old, new: new.updated_at}
    upsert(connection, policies, [row], keys=["dataset_id", "kind"], set_=set_)


def _summed(files: Sequence[StoredFile]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for file in files:
        held = found.setdefault(file.storage, {"objects": 0, "bytes": 0})
        held["objects"] += 1
        held["bytes"] += file.bytes
    return found
