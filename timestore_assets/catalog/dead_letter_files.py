"""Objects of records that did not land: kept with the batch that refused them, and settled by the replay that lands them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import sources
from timestore_assets.catalog.commit_values import LandingCommit, ReplaySettlement
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import DeadLetterFile, SourceRecord
from timestore_assets.catalog.tables import dead_letter_files
from timestore_assets.model.errors import ConflictError


class DeadLetterFiles:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, dataset_id: int, *, settled: bool = False) -> list[tuple[SourceRecord, DeadLetterFile, datetime]]:
        """Objects of records that did not land, oldest first, with their source and the time they were committed.

        `settled`: also those that a replay has disposed of.
        """
        statement = select(dead_letter_files).where(dead_letter_files.c.dataset_id == dataset_id).order_by(dead_letter_files.c.id)
        if not settled:
            statement = statement.where(dead_letter_files.c.settled_at.is_(None))

        def read(c: Connection) -> list[tuple[SourceRecord, DeadLetterFile, datetime]]:
            by_id = {source.id: source for source in sources.listed(c, dataset_id)}
            return [(by_id[row.source_id], _record(row), from_micros(row.created_at)) for row in c.execute(statement)]

        return self._database.read(read)

    def forwarded(self, dead_letter_ids: Sequence[int]) -> None:
        """These files have been produced to the dead-letter topic."""
        d = dead_letter_files.c

        def write(c: Connection) -> None:
            for ids in chunked(dead_letter_ids):
                c.execute(dead_letter_files.update().where(d.id.in_(ids)).values(forward=False))

        self._database.write(write)


def keep(connection: Connection, batch: LandingCommit, *, now: int) -> None:
    """Note those of a batch, in its transaction."""
    rows = [
        {
            "dataset_id": batch.dataset_id,
            "source_id": batch.source_id,
            "name": file.name,
            "rows": file.rows,
            "bytes": file.bytes,
            "reasons": json.dumps(dict(file.reasons)),
            "created_at": now,
            "kind": file.kind,
            "forward": file.forward,
            "storage": file.storage,
            "sha256": file.sha256,
            "schema_version": file.schema_version or batch.base_schema_version,
        }
        for file in batch.dead_letter_files
    ]
    if rows:
        connection.execute(dead_letter_files.insert(), rows)


def settle(connection: Connection, batch: LandingCommit, replayed: ReplaySettlement, *, now: int) -> None:
    """Settle those that a replay has disposed of, in its transaction.

    Raises:
        ConflictError: one is settled already, or of a content that has been replaced.
    """
    c = dead_letter_files.c
    wanted, settled = sorted(set(replayed.dead_letter_ids)), 0
    for ids in chunked(wanted):
        waiting = dead_letter_files.update().where(c.id.in_(ids), c.dataset_id == batch.dataset_id, c.settled_at.is_(None))
        settled += connection.execute(waiting.values(settled_at=now, forward=False)).rowcount
    if settled < len(wanted):
        raise ConflictError("some of these dead letters have been replayed by somebody else; list them again")
    if sources.withdrawn(connection, {at for segment in batch.segments for at in segment.source_ids}):
        raise ConflictError("some of these dead letters are of a content that has been replaced meanwhile; list them again")


def _record(row: Row[Any]) -> DeadLetterFile:
    return DeadLetterFile(
        id=row.id,
        name=row.name,
        rows=row.rows,
        bytes=row.bytes,
        reasons=json.loads(row.reasons),
        kind=row.kind,
        forward=row.forward,
        storage=row.storage,
        sha256=row.sha256,
        schema_version=row.schema_version,
    )
