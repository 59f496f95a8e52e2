"""Writing what dropped columns held: a file for each column and partition, with keys and provenance.

It is read from the version before the migration, which a lease holds until all is written, so that neither builds nor the
collector are in its way. Broken off, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache
from itertools import groupby

import duckdb

from timestore_assets.catalog.archives import Archive, PendingArchive
from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.migrating.archive_files import ArchiveWriter, FolderWriter, TargetWriter
from timestore_assets.migrating.archive_place import ArchivePlace, InFolder
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.types import quote
from timestore_assets.model.window import Window
from timestore_assets.segments.engine import connect
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.segments.reader import opened


def write_archives(context: WriteContext, record: DatasetRecord, place: ArchivePlace, *, actor: str) -> list[Archive]:
    """Write all archives of a dataset that are still to be written; those that were.

    Raises:
        InputError: the place can't be written, or has another file of that name.
        UnavailableError, DamagedError: a segment can't be read. Others as `ArchiveWriter.put`.
    """
    catalog = context.catalog
    made: list[Archive] = []
    pending = catalog.archives.pending(record.id)
    if not pending:
        return made
    with _writing(context, record, place) as (writer, session):
        for one in pending:
            with closing(connect(context.limits)) as con:
                written = _written(con, context, record, one, writer)
                made += (catalog.archives.add(record.id, archive, session_id=session) for archive in written)
            catalog.archives.finish(record.id, one.schema_version, actor=actor)
    return made


@contextmanager
def _writing(context: WriteContext, record: DatasetRecord, place: ArchivePlace) -> Iterator[tuple[ArchiveWriter, int | None]]:
    """What writes to a place, and the session that announces objects; None where files are nobody's but the person's."""
    if isinstance(place, InFolder):
        yield FolderWriter(place), None
        return
    with (
        LeaseKeeper(context.catalog) as keeper,
        keeper.session(record.id, "archive", holder=context.holder, ttl=context.ttl) as session,
    ):
        yield TargetWriter(place, context, session.id), session.id


def _written(
    con: duckdb.DuckDBPyConnection,
    context: WriteContext,
    record: DatasetRecord,
    pending: PendingArchive,
    writer: ArchiveWriter,
) -> Iterator[Archive]:
    catalog, storage = context.catalog, context.storage
    schema = catalog.datasets.schema_at(record.id, pending.version)
    columns = [schema.by_id(one) for one in catalog.migrations.archived(record.id, pending.schema_version)]
    keys = _keys(record, schema)
    window = Window(record.definition["window"])
    schema_of = cache(lambda version: catalog.datasets.schema(record.id, version))
    retracted = catalog.manifest.retracted(record.id, version=pending.version)
    segments = catalog.manifest.segments(record.id, version=pending.version, with_stats=False)
    for start, group in groupby(segments, key=lambda one: one.partition_start):
        in_partition, partition = list(group), window.partition(start).key
        for column in columns:
            if column is None or (column.id, start) in pending.done:
                continue
            names = [one.name for one in (*(key for key in keys if key.id != column.id), column)]
            with opened(
                con, in_partition, storage=storage, schema=schema, schema_of=schema_of, retracted=retracted, columns=names
            ) as rows:
                file = writer.put(con, _query(rows, names), dataset=record.name, partition=partition, column=column.name)
            yield Archive(schema_version=pending.schema_version, column_id=column.id, partition_start=start, **asdict(file))


def _query(rows: str, names: Sequence[str]) -> str:
    """Rows in order of their origin, which is in the file too."""
    shown = ", ".join([*map(quote, names), *PROVENANCE_COLUMNS])
    return f"SELECT {shown} FROM {rows} ORDER BY {', '.join(PROVENANCE_COLUMNS)}"


def _keys(record: DatasetRecord, schema: Schema) -> list[Column]:
    """Columns that tell rows apart, as they were called then: time, partition and deduplication keys."""
    said = record.definition
    names = dict.fromkeys([said["time"], *said["partition_by"], *(said["dedupe"] or {"keys": ()})["keys"]])
    ids = [column.id for name in names if (column := record.schema.find(name)) is not None]
    return [column for one in ids if (column := schema.by_id(one)) is not None]
