"""What may be forgotten: superseded segments that nobody can need any more, and what stays known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, delete, exists, select, union_all

from timestore_assets.catalog import datasets, sources
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import DeadLetterFile, SourceRecord
from timestore_assets.catalog.sessions import alive
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.catalog.tables import dead_letter_files, intents, leases, segment_stats, segments
from timestore_assets.catalog.tables import sessions as sessions_table
from timestore_assets.model.objects import ObjectName


def collect(connection: Connection, *, superseded_before: int, limit: int, now: int) -> list[ObjectName]:
    """Forget superseded segments, see `Catalog.collect_segments`; expired leases go with them."""
    connection.execute(delete(leases).where(leases.c.expires_at <= now))
    c = segments.c
    old = c.removed_at < superseded_before
    for dataset_id in connection.execute(select(c.dataset_id).where(old).distinct().order_by(c.dataset_id)).scalars().all():
        # a pin takes the same lock, so none can appear between the question and the answer
        datasets.lock(connection, dataset_id)
    pinned = exists().where(
        leases.c.dataset_id == c.dataset_id, leases.c.version >= c.added_version, leases.c.version < c.removed_version
    )
    session = sessions_table.c
    in_use = exists().where(and_(session.dataset_id == c.dataset_id, session.started_at <= c.removed_at, alive(now)))
    free = connection.execute(
        select(c.id, c.storage, c.name, c.dataset_id, c.added_version, c.removed_version)
        .where(old, ~pinned, ~in_use)
        .order_by(c.removed_version, c.id)
        .limit(limit)
    ).all()
    newest_gone: dict[int, int] = {}
    for row in free:
        if row.added_version is not None:
            newest_gone[row.dataset_id] = max(row.removed_version, newest_gone.get(row.dataset_id, 0))
    for dataset_id, version in newest_gone.items():
        d = datasets_table.c
        connection.execute(
            datasets_table.update().where(d.id == dataset_id, d.collected_version < version).values(collected_version=version)
        )
    for ids in chunked(row.id for row in free):
        connection.execute(delete(segment_stats).where(segment_stats.c.segment_id.in_(ids)))
        connection.execute(delete(segments).where(c.id.in_(ids)))
    return [ObjectName(row.storage, row.name) for row in free]


def known_objects(connection: Connection, storage: str | None) -> set[str]:
    tables = (segments, dead_letter_files, intents)
    selects = [select(table.c.name) for table in tables]
    if storage is not None:
        selects = [one.where(table.c.storage == storage) for one, table in zip(selects, tables, strict=True)]
    return set(connection.execute(union_all(*selects)).scalars())


def dead_letters(
    connection: Connection, dataset_id: int, *, settled: bool = False
) -> list[tuple[SourceRecord, DeadLetterFile, datetime]]:
    """Dead-letter objects of a dataset, oldest first, with their source and the time they were committed."""
    by_id = {source.id: source for source in sources.listed(connection, dataset_id)}
    c = dead_letter_files.c
    statement = select(dead_letter_files).where(c.dataset_id == dataset_id).order_by(c.id)
    if not settled:
        statement = statement.where(c.settled_at.is_(None))
    return [
        (
            by_id[row.source_id],
            DeadLetterFile(
                id=row.id,
                name=row.name,
                rows=row.rows,
                bytes=row.bytes,
                reasons=json.loads(row.reasons),
                kind=row.kind,
                forward=row.forward,
                storage=row.storage,
            ),
            from_micros(row.created_at),
        )
        for row in connection.execute(statement)
    ]


def forwarded(connection: Connection, dead_letter_ids: Sequence[int]) -> None:
    """See `Catalog.forwarded`."""
    for ids in chunked(dead_letter_ids):
        connection.execute(dead_letter_files.update().where(dead_letter_files.c.id.in_(ids)).values(forward=False))
