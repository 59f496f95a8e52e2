"""A file that is to be landed again: what is at its address now takes the place of what has landed from there, at once.

It is a new content at that address, even if it is the same. Its rows wait for its last batch, and the old ones leave with that; a
session that is killed leaves a record which whatever lands the source's files goes on with.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from timestore_assets.catalog import audit, datasets, file_chunks, file_states, sources
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.records import FileRecord
from timestore_assets.catalog.tables import files
from timestore_assets.model.errors import InputError, RefusedError

f = files.c


class FileReloads:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, source_id: int, address: str, *, actor: str) -> FileRecord:
        """Let the file at an address count as one that is to be landed; audited. Its rows stay until it has landed.

        One that is on its way already, or would be landed anyway, stays as it is.

        Raises:
            InputError: nothing is known of such a file. RefusedError: its content has landed from another address.
        """
        return self._database.timed(lambda c, now: ask(c, source_id, address, actor=actor, now=now))


def ask(connection: Connection, source_id: int, address: str, *, actor: str, now: int) -> FileRecord:
    """See `FileReloads.ask`."""
    owner = sources.owner(connection, source_id)
    dataset = datasets.lock(connection, owner.dataset_id)
    here = f.source_id == source_id, f.address == address
    newest = connection.execute(select(files).where(*here, f.newest)).one_or_none()
    if newest is None:
        raise InputError(f"dataset {dataset.name!r} has landed no file {address!r}")
    if newest.state == "duplicate":
        raise RefusedError(f"{address} can't be landed again: {newest.reason}")
    if newest.state != "landed":
        return file_states.one(connection, newest.id)
    own = {newest.source_partition_id} - {None}
    values = {
        **{name: getattr(newest, name) for name in ("dataset_id", "source_id", "address", "sha256", "etag", "bytes")},
        "schema_version": newest.schema_version,
        "state": "pending",
        "reason": "",
        # a file without a record has nothing that would have to leave
        "replaces": json.dumps(sorted(file_chunks.with_parts(connection, own)) if newest.read else []),
        "newest": True,
        "created_at": now,
        "updated_at": now,
    }
    file_id: int = connection.execute(files.insert().returning(f.id), values).scalar_one()
    # not that of its content, whose checkpoint stands at the end
    partition = sources.ensure_partition(connection, source_id, f"{newest.sha256}:{address}#{file_id}")
    connection.execute(files.update().where(f.id == file_id).values(source_partition_id=partition.id))
    connection.execute(files.update().where(*here).values(newest=f.id == file_id))
    details = {"source": owner.address, "file": address, "file_id": file_id}
    audit.record(connection, dataset.id, actor=actor, action="file_reload_asked", details=details, now=now)
    return file_states.one(connection, file_id)
