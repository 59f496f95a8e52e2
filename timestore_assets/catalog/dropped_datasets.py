"""What dropped datasets leave behind: their objects, and what the catalog knows of them.

Objects go first, those that a reader still holds stay; when none is left, all else is forgotten. The dataset's own row stays
for the audit log, and for whoever comes late: what they would commit is refused by it.
"""

from __future__ import annotations

from sqlalchemy import Connection, ScalarSelect, Table, delete, exists, or_, select, tuple_
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog import datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.leases import forget_expired, held
from timestore_assets.catalog.stored_objects import delete_rows, in_a_target, note_collected, unnamed
from timestore_assets.catalog.tables import (
    archives,
    backfills,
    dataset_schemas,
    dead_letter_files,
    file_chunks,
    files,
    idempotency_keys,
    ingestions,
    landed_rows,
    late_records,
    leases,
    lost_offsets,
    migrations,
    partitions,
    retractions,
    segments,
    source_partitions,
    sources,
    tags,
    topics,
)
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.model.segment import ObjectName

AT_ONCE = 1000
_OF_DATASET: tuple[Table, ...] = (
    retractions,
    late_records,
    backfills,
    migrations,
    archives,
    tags,
    idempotency_keys,
    ingestions,
    lost_offsets,
    partitions,
    dataset_schemas,
)


class DroppedDatasets:
    """Each method is some short transactions at most; safe at any time, beside anything, and to run again after a crash."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect_objects(self, *, limit: int = AT_ONCE) -> list[ObjectName]:
        """Forget objects of dropped datasets that no reader holds; returns their names, whose files may then go.

        Ask again until there are none. They are remembered until `StoredObjects.deleted` is told that the files are gone.
        """
        return self._database.timed(lambda c, now: collect_objects(c, limit=limit, now=now), repeatable=False)

    def forget(self) -> int:
        """Forget sources, files, checkpoints and keys of dropped datasets without objects; returns how many rows that were."""
        total = 0
        while gone := self._database.write(forget_some):
            total += gone
        return total


def collect_objects(connection: Connection, *, limit: int, now: int) -> list[ObjectName]:
    """See `DroppedDatasets.collect_objects`."""
    forget_expired(connection, now=now)
    s = segments.c
    locked = _locked(connection, or_(*_HAVE_OBJECTS))
    if not locked:
        return []
    # one that waits for its file's last batch was never to be seen, so nobody holds it
    free = or_(s.added_version.is_(None), ~held(s.dataset_id, s.added_version, s.removed_version))
    there = select(s.id, s.storage, s.name).where(s.dataset_id.in_(locked), free).order_by(s.id)
    names: list[ObjectName] = []
    # lives of what was live again later free nothing by themselves
    while not names and (rows := connection.execute(there.limit(limit)).all()):
        delete_rows(connection, [row.id for row in rows])
        names = unnamed(connection, (ObjectName(row.storage, row.name) for row in rows))
    for table in (dead_letter_files, archives):
        c = table.c
        some = select(c.id).where(c.dataset_id.in_(locked), in_a_target(table)).order_by(c.id).limit(limit - len(names))
        gone = delete(table).where(c.id.in_(some)).returning(c.storage, c.name)
        names += sorted(ObjectName(*row) for row in connection.execute(gone))
    note_collected(connection, names)
    return names


def forget_some(connection: Connection) -> int:
    """Forget some rows; 0 when there are none left."""
    read = exists().where(leases.c.dataset_id == datasets_table.c.id)
    for dataset_id in _locked(connection, *(~one for one in _HAVE_OBJECTS), ~read, or_(_has(sources), _has(dataset_schemas))):
        own = select(sources.c.id).where(sources.c.dataset_id == dataset_id).scalar_subquery()
        own_files = select(files.c.id).where(files.c.dataset_id == dataset_id).scalar_subquery()
        # children first
        steps: list[tuple[Table, ColumnElement[bool]]] = [
            (file_chunks, file_chunks.c.file_id.in_(own_files)),
            (files, files.c.dataset_id == dataset_id),
            *((table, table.c.dataset_id == dataset_id) for table in _OF_DATASET),
            *((table, _below(table, own)) for table in (landed_rows, source_partitions, topics)),
            (sources, sources.c.dataset_id == dataset_id),
        ]
        for table, which in steps:
            if gone := _some(connection, table, which):
                return gone
    return 0


def _below(table: Table, own: ScalarSelect[int]) -> ColumnElement[bool]:
    return table.c.source_id.in_(own)


def _locked(connection: Connection, *conditions: ColumnElement[bool]) -> list[int]:
    """Ids of dropped datasets, locked: a pin takes the same lock, so none can come between the question and the answer."""
    d = datasets_table.c
    found = connection.execute(select(d.id).where(d.dropped_at.is_not(None), *conditions).order_by(d.id)).scalars().all()
    for dataset_id in found:
        datasets.lock_any(connection, dataset_id)
    return list(found)


def _has(table: Table) -> ColumnElement[bool]:
    return exists().where(table.c.dataset_id == datasets_table.c.id, in_a_target(table))


_HAVE_OBJECTS = (_has(segments), _has(dead_letter_files), _has(archives))
"""Conditions of a dataset's row: something of it lies in a storage target."""


def _some(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    key = list(table.primary_key)
    chosen = select(*key).where(which).order_by(*key).limit(AT_ONCE)
    return connection.execute(delete(table).where((key[0] if len(key) == 1 else tuple_(*key)).in_(chosen))).rowcount
