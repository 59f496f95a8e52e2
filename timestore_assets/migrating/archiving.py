"""Writing what dropped columns held: a file of JSON lines for each column and partition, with keys and provenance.

It is read from the version before the migration, which a lease holds until all is written, so that neither builds nor the
collector are in its way. Broken off, it goes on where it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from urllib.parse import quote as percent_encoded

import duckdb

from timestore_assets.catalog.archives import Archive, PendingArchive
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.errors import InputError, StorageFullError
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.segment import Segment
from timestore_assets.model.types import literal, quote
from timestore_assets.model.window import Window
from timestore_assets.segments.engine import EngineLimits, connect, disk_failures, one_row
from timestore_assets.segments.reader import opened
from timestore_assets.storage.object_store import sha256_of
from timestore_assets.storage.targets import Storage


def write_archives(
    catalog: Catalog, storage: Storage, limits: EngineLimits, record: DatasetRecord, folder: Path, *, actor: str
) -> list[Archive]:
    """Write all archives of a dataset that are still to be written, into a folder; those that were.

    Raises:
        InputError: the folder can't be written, or has another file of that name.
        UnavailableError, DamagedError: a segment can't be read.
    """
    made: list[Archive] = []
    for pending in catalog.archives.pending(record.id):
        con = connect(limits)
        try:
            for archive in _written(con, catalog, storage, record, pending, folder):
                catalog.archives.add(record.id, archive)
                made.append(archive)
        finally:
            con.close()
        catalog.archives.finish(record.id, pending.schema_version, actor=actor)
    return made


def _written(
    con: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    storage: Storage,
    record: DatasetRecord,
    pending: PendingArchive,
    folder: Path,
) -> Iterator[Archive]:
    schema = catalog.datasets.schema_at(record.id, pending.version)
    columns = [schema.by_id(one) for one in catalog.migrations.archived(record.id, pending.schema_version)]
    keys = _keys(record, schema)
    window = Window(record.definition["window"])
    schema_of = cache(lambda version: catalog.datasets.schema(record.id, version))
    retracted = catalog.manifest.retracted(record.id, version=pending.version)
    segments = catalog.manifest.segments(record.id, version=pending.version, with_stats=False)
    _made(folder)
    for start, group in groupby(segments, key=lambda one: one.partition_start):
        in_partition: list[Segment] = list(group)
        for column in columns:
            if column is None or (column.id, start) in pending.done:
                continue
            name = f"{record.name}-{_safe(window.partition(start).key)}-{_safe(column.name)}.jsonl"
            wanted = [*(key for key in keys if key.id != column.id), column]
            names = [one.name for one in wanted]
            with opened(
                con, in_partition, storage=storage, schema=schema, schema_of=schema_of, retracted=retracted, columns=names
            ) as rows:
                path, count = _put(con, rows, names, folder / name)
            yield Archive(
                schema_version=pending.schema_version,
                column_id=column.id,
                partition_start=start,
                storage=str(path.parent),
                name=path.name,
                rows=count,
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
            )


def _keys(record: DatasetRecord, schema: Schema) -> list[Column]:
    """Columns that tell rows apart, as they were called then: time, partition and deduplication keys."""
    said = record.definition
    names = dict.fromkeys([said["time"], *said["partition_by"], *(said["dedupe"] or {"keys": ()})["keys"]])
    ids = [column.id for name in names if (column := record.schema.find(name)) is not None]
    return [column for one in ids if (column := schema.by_id(one)) is not None]


def _put(con: duckdb.DuckDBPyConnection, rows: str, names: Sequence[str], path: Path) -> tuple[Path, int]:
    """Rows as a durable file of that name, in order of their origin; its path, and how many there are."""
    path = path.absolute()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    shown = ", ".join([*map(quote, names), *PROVENANCE_COLUMNS])
    query = f"SELECT {shown} FROM {rows} ORDER BY {', '.join(PROVENANCE_COLUMNS)}"
    try:
        with disk_failures("writing an archive", path.parent):
            (count,) = one_row(con, f"COPY ({query}) TO {literal(str(beside))} (FORMAT json)")
        _settle(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path, int(count)


def _settle(beside: Path, path: Path) -> None:
    """Give a file its name, which nothing else may have."""
    try:
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.link(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        # written before, and killed before it was recorded
        if sha256_of(path) != sha256_of(beside):
            raise InputError(f"{path} is there already and holds something else; choose another --archive-dir") from None
    except OSError as error:
        raise StorageFullError(f"{path} can't be written: {error.strerror}; choose another --archive-dir") from None


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} can't be made: {error.strerror}; choose another --archive-dir") from None


def _safe(name: str) -> str:
    return percent_encoded(name, safe="")
