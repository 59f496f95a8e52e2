"""Archives of dropped columns: which are still to be written, and which there are, with their checksums.

The transaction that drops a column to be archived also holds the version before it by a lease without an end. It goes when the
archive of every partition is recorded, so that no segment which still has the values is collected before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from timestore_assets.catalog import audit, datasets, sessions
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.tables import archives, leases

_HOLDER = "archive"
_FOR_EVER = to_micros(datetime(9999, 12, 31, tzinfo=UTC))


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """The values of a dropped column in a partition, as a file.

    `schema_version`: that dropped it. `storage`: its storage target, or an absolute folder outside of all.
    """

    schema_version: int
    column_id: int
    partition_start: datetime
    storage: str
    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingArchive:
    """Columns that were dropped to be archived, and are not yet. `version`: the manifest version that has their values."""

    schema_version: int
    version: int
    done: frozenset[tuple[int, datetime]]
    """Columns and partitions that are."""


class Archives:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, dataset_id: int) -> list[Archive]:
        """By schema version, column and partition."""
        return self._database.read(lambda c: _of(c, dataset_id))

    def pending(self, dataset_id: int) -> list[PendingArchive]:
        """What is still to be written, by schema version."""
        return self._database.read(lambda c: _pending(c, dataset_id))

    def add(self, dataset_id: int, archive: Archive, *, session_id: int | None = None) -> Archive:
        """Record an archive that is there, and durable; the one that counts, which is an earlier one if there is.

        `session_id`: that has announced the object; None for a file outside of all storage targets.

        Raises:
            ConflictError: the session was taken for dead, so the object may be gone. DroppedError: the dataset was dropped.
        """
        return self._database.timed(lambda c, now: _add(c, dataset_id, archive, session_id=session_id, now=now))

    def finish(self, dataset_id: int, schema_version: int, *, actor: str) -> None:
        """All archives of a schema version are recorded: the version before it is needed no more."""
        self._database.timed(lambda c, now: _finish(c, dataset_id, schema_version, actor=actor, now=now))


def hold(connection: Connection, dataset_id: int, *, schema_version: int, version: int) -> None:
    """Keep a manifest version until the columns that the schema version dropped are archived."""
    lease = {"resource": _resource(dataset_id, schema_version), "holder": _HOLDER, "expires_at": _FOR_EVER}
    connection.execute(leases.insert(), {**lease, "dataset_id": dataset_id, "version": version})


def give_up(connection: Connection, dataset_id: int) -> None:
    """The dataset is dropped: nothing more of it is archived."""
    connection.execute(delete(leases).where(leases.c.dataset_id == dataset_id, leases.c.holder == _HOLDER))


def _resource(dataset_id: int, schema_version: int) -> str:
    return f"archive:{dataset_id}:{schema_version}"


def _of(connection: Connection, dataset_id: int) -> list[Archive]:
    a = archives.c
    rows = connection.execute(
        select(archives).where(a.dataset_id == dataset_id).order_by(a.schema_version, a.column_id, a.partition_start)
    )
    return [_archive(row) for row in rows]


def _pending(connection: Connection, dataset_id: int) -> list[PendingArchive]:
    held = select(leases).where(leases.c.dataset_id == dataset_id, leases.c.holder == _HOLDER).order_by(leases.c.version)
    known = _of(connection, dataset_id)
    found = []
    for lease in connection.execute(held):
        schema_version = int(lease.resource.rpartition(":")[2])
        done = frozenset((one.column_id, one.partition_start) for one in known if one.schema_version == schema_version)
        found.append(PendingArchive(schema_version=schema_version, version=lease.version, done=done))
    return found


def _add(connection: Connection, dataset_id: int, archive: Archive, *, session_id: int | None, now: int) -> Archive:
    datasets.lock(connection, dataset_id)
    a = archives.c
    same = select(archives).where(
        a.dataset_id == dataset_id,
        a.schema_version == archive.schema_version,
        a.column_id == archive.column_id,
        a.partition_start == to_micros(archive.partition_start),
    )
    if (known := connection.execute(same).first()) is not None:
        return _archive(known)
    if session_id is not None:
        sessions.fulfil(connection, session_id, [archive.name])
    values: dict[str, Any] = {
        "dataset_id": dataset_id,
        "schema_version": archive.schema_version,
        "column_id": archive.column_id,
        "partition_start": to_micros(archive.partition_start),
        "storage": archive.storage,
        "name": archive.name,
        "rows": archive.rows,
        "bytes": archive.bytes,
        "sha256": archive.sha256,
        "created_at": now,
    }
    connection.execute(archives.insert(), values)
    return archive


def _finish(connection: Connection, dataset_id: int, schema_version: int, *, actor: str, now: int) -> None:
    datasets.lock(connection, dataset_id)
    own = delete(leases).where(leases.c.resource == _resource(dataset_id, schema_version), leases.c.holder == _HOLDER)
    if connection.execute(own).rowcount:
        mine: Sequence[Archive] = [one for one in _of(connection, dataset_id) if one.schema_version == schema_version]
        details = {"version": schema_version, "files": len(mine), "rows": sum(one.rows for one in mine)}
        audit.record(connection, dataset_id, actor=actor, action="columns_archived", details=details, now=now)


def _archive(row: Row[Any]) -> Archive:
    return Archive(
        schema_version=row.schema_version,
        column_id=row.column_id,
        partition_start=from_micros(row.partition_start),
        storage=row.storage,
        name=row.name,
        rows=row.rows,
        bytes=row.bytes,
        sha256=row.sha256,
    )
