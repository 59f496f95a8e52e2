"""Files of archives: written aside, and only whole under their name, in a folder of this machine or a storage target."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote as percent_encoded

import duckdb

from timestore_assets.migrating.archive_place import InFolder, InTarget
from timestore_assets.migrating.migration_manifest import ArchiveFormat
from timestore_assets.model.errors import InputError, StorageFullError
from timestore_assets.model.types import literal
from timestore_assets.ownership.target_claim import claim
from timestore_assets.segments.engine import disk_failures, one_row
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.storage.object_store import Upload, sha256_of

ARCHIVE_FOLDER = "archives"
"""Of a dataset's objects in a storage target."""
_OPTIONS: dict[ArchiveFormat, str] = {"jsonl": "FORMAT json", "parquet": "FORMAT parquet, COMPRESSION zstd"}
_LONGEST_NAME = 150
"""Of a name in an object's: stores hold 255 bytes, and a partition, an attempt and a suffix stand beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedFile:
    """A durable file. `storage`: its folder, or its storage target."""

    storage: str
    name: str
    rows: int
    bytes: int
    sha256: str


class ArchiveWriter(Protocol):
    """Where archives are written to."""

    def put(self, con: duckdb.DuckDBPyConnection, query: str, *, dataset: str, partition: str, column: str) -> ArchivedFile:
        """What a query gives as a durable file, streamed.

        Raises:
            InputError: the place can't be written, or has another file of that name. StorageFullError: no room is left.
            OwnershipError: the target is not this catalog's. UnavailableError: it can't be reached.
        """


class FolderWriter:
    """Files of a folder, each with a name of its own; one that is there already is never overwritten."""

    def __init__(self, place: InFolder) -> None:
        """InputError when the folder can't be made."""
        self._format, self._folder = place.format, place.folder.absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{place.folder} can't be made: {error.strerror}; choose another --archive-dir") from None

    def put(self, con: duckdb.DuckDBPyConnection, query: str, *, dataset: str, partition: str, column: str) -> ArchivedFile:
        """See `ArchiveWriter.put`."""
        path = self._folder / f"{dataset}-{_safe(partition)}-{_safe(column)}.{self._format}"
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            rows = _copied(con, query, beside, self._format)
            _settle(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        return ArchivedFile(
            storage=str(path.parent), name=path.name, rows=rows, bytes=path.stat().st_size, sha256=sha256_of(path)
        )


class TargetWriter:
    """Objects of a storage target, announced by a session: what is not recorded is the collector's once that is over."""

    def __init__(self, place: InTarget, context: WriteContext, session: int) -> None:
        """InputError when there is no such target."""
        self._format, self._target, self._context, self._session = place.format, place.target, context, session
        self._store = context.storage.target(place.target)

    def put(self, con: duckdb.DuckDBPyConnection, query: str, *, dataset: str, partition: str, column: str) -> ArchivedFile:
        """See `ArchiveWriter.put`."""
        called = _safe(column)[:_LONGEST_NAME]
        name = f"{dataset}/{ARCHIVE_FOLDER}/{_safe(partition)}-{called}-{secrets.token_hex(6)}.{self._format}"
        staging = self._store.staging("archive")
        try:
            staged = staging / f"archive.{self._format}"
            rows = _copied(con, query, staged, self._format)
            size = staged.stat().st_size
            claim(self._context.catalog, self._context.storage, self._target)
            self._context.catalog.sessions.announce(self._session, [name], storage=self._target)
            (digest,) = self._store.promote([Upload(staged=staged, name=name)])
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return ArchivedFile(storage=self._target, name=name, rows=rows, bytes=size, sha256=digest)


def _copied(con: duckdb.DuckDBPyConnection, query: str, path: Path, form: ArchiveFormat) -> int:
    """Write what a query gives to a file; how many rows that is."""
    with disk_failures("writing an archive", path.parent):
        (count,) = one_row(con, f"COPY ({query}) TO {literal(str(path))} ({_OPTIONS[form]})")
    return int(count)


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


def _safe(name: str) -> str:
    return percent_encoded(name, safe="")
