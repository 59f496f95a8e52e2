"""Objects of records that did not land: kept with the batch that refused them, and settled by the replay that lands them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit, datasets, outbox, sources
from timestore_assets.catalog.commit_values import LandingCommit, ReplaySettlement
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.late_records import late_text, move, parse_late
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import DeadLetterFile, SourceRecord
from timestore_assets.catalog.tables import dead_letter_files
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ConflictError, InputError


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

    def refuse_held(self, dataset_id: int, file_ids: Collection[int] | None, *, actor: str) -> int:
        """Let held records count as dropped for being late, those of these files or of all; returns how many they are.

        Their bytes stay, as those of a dataset whose policy is to drop do.

        Raises:
            InputError: one of the files is none of held records, or not any more.
        """
        return self._database.timed(lambda c, now: refuse_held(c, dataset_id, file_ids, actor=actor, now=now))


def refuse_held(connection: Connection, dataset_id: int, file_ids: Collection[int] | None, *, actor: str, now: int) -> int:
    """See `DeadLetterFiles.refuse_held`."""
    dataset, c = datasets.lock(connection, dataset_id), dead_letter_files.c
    held = select(dead_letter_files).where(c.dataset_id == dataset_id, c.kind == "held", c.settled_at.is_(None))
    found = [row for row in connection.execute(held.order_by(c.id)) if file_ids is None or row.id in file_ids]
    if unknown := set(file_ids or ()).difference(row.id for row in found):
        raise InputError(f"{dataset.name!r} holds no batch {min(unknown)}, or not any more; list what it holds again")
    for ids in chunked(row.id for row in found):
        connection.execute(dead_letter_files.update().where(c.id.in_(ids)).values(kind="late_dropped"))
    for row in found:
        sources.add_counters(connection, sources_table, row.source_id, Counters(held=-row.rows, late_dropped=row.rows))
        late = parse_late(row.late)
        move(connection, dataset_id, row.source_id, late, before="held", after="dropped")
    rows: int = sum(row.rows for row in found)
    if found:
        details = {"late_dropped": rows, "reason": f"{rows:,} held records were refused", "batches": len(found)}
        audit.record(connection, dataset_id, actor=actor, action="late_refused", details=details, now=now)
        outbox.queue(connection, dataset_id, "late_refused", details, now=now)
    return rows


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
            "late": late_text(file.late),
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
        waiting = dead_letter_files.update().where(
            c.id.in_(ids), c.dataset_id == batch.dataset_id, c.settled_at.is_(None), c.kind == replayed.kind
        )
        settled += connection.execute(waiting.values(settled_at=now, forward=False)).rowcount
    if settled < len(wanted):
        raise ConflictError("some of these dead letters have been replayed or refused by somebody else; list them again")
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
        late=parse_late(row.late),
    )
