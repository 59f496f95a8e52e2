"""What a rollback that takes landings with it gives back to their sources, so that it lands again.

A file that landed wholly since is a new one: its rows never come back, its record is settled as replaced, and the next look
finds its content unknown. What it had replaced has its place again. Records of a topic are not set back here, and requests over
HTTP can't be: nobody sends them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, or_, select

from timestore_assets.catalog import file_chunks, manifest, sources
from timestore_assets.catalog.manifest import live
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.rollback_plan import landed_since
from timestore_assets.catalog.stored_segments import parse_ids
from timestore_assets.catalog.tables import (
    audit,
    files,
    idempotency_keys,
    ingestions,
    segments,
    source_partitions,
)
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.source_kinds import lands_files

f, p = files.c, source_partitions.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """Files that land again, and what they had replaced."""

    files: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    """Source partitions of those files, all their parts."""
    reopened: frozenset[int] = frozenset()
    """Source partitions whose rows they had replaced."""
    lost_requests: int = 0
    """Rows that came over HTTP."""


def returnable(connection: Connection, dataset: Row[Any], to: int, *, may_lose: bool) -> Returned:
    """What would go back to its source.

    Raises:
        RefusedError: some of it can't: it is of a topic, of a file that had begun to land by then, or of requests and
            `may_lose` is not said.
    """
    since = landed_since(connection, dataset.id, to)
    rows = _partitions(connection, {source for row in since.values() for source in parse_ids(row.source_ids)})
    open_ones = [row for row in rows if row.retracted_version is None]
    if topics := sorted({row.address for row in open_ones if row.kind == "kafka"}):
        raise RefusedError(
            f"records of topic source {topics[0]} landed after version {to}, and a rollback can't set its checkpoints back; "
            "roll back without --and-landings, then land those offsets again"
        )
    requests = {row.id for row in open_ones if not lands_files(row.kind)}
    lost = sum(row.rows for row in since.values() if requests.intersection(parse_ids(row.source_ids)))
    if lost and not may_lose:
        raise RefusedError(
            f"{lost:,} rows that came over HTTP after version {to} would go, and nobody sends them again; "
            "say --yes (over HTTP discard=true) if they may, or leave --and-landings out"
        )
    own = file_chunks.with_parts(connection, {row.id for row in open_ones if lands_files(row.kind)})
    found = _files(connection, own)
    before = _sources_at(connection, dataset.id, to)
    for row in found:
        if before.intersection(file_chunks.with_parts(connection, {row.source_partition_id})):
            raise RefusedError(
                f"{row.address} was landing at version {to}, and a file lands again as a whole only; "
                "choose a version before it began, or after it had landed"
            )
    return Returned(
        files=tuple(row.id for row in found),
        addresses=tuple(row.address for row in found),
        partitions=tuple(sorted(own)),
        reopened=frozenset(_replaced_since(connection, before, to)),
        lost_requests=lost,
    )


def give_back(connection: Connection, dataset_id: int, returned: Returned, *, to: int, version: int, now: int) -> None:
    """Settle those files, close what they were read as, and give what they had replaced its place back."""
    closed = sources.retract(connection, returned.partitions, version=version)
    manifest.abandon_waiting(connection, closed, version=version, now=now)
    reason = f"rolled back to version {to}, so that it lands again"
    for ids in chunked(returned.files):
        content = select(f.sha256).where(f.id.in_(ids)).scalar_subquery()
        # a copy of it counts as new, too: it may be all that is left of it
        copies = and_(f.dataset_id == dataset_id, f.state == "duplicate", f.sha256.in_(content))
        settled = files.update().where(or_(f.id.in_(ids), copies))
        connection.execute(settled.values(state="replaced", reason=reason, updated_at=now))
    for ids in chunked(sorted(returned.reopened)):
        connection.execute(source_partitions.update().where(p.id.in_(ids)).values(retracted_version=None))
        former = files.update().where(f.source_partition_id.in_(ids), f.state == "replaced")
        connection.execute(former.values(state="landed", reason="", updated_at=now))
    if returned.files or returned.lost_requests:
        _forget_keys(connection, dataset_id, to)


def _partitions(connection: Connection, ids: Iterable[int]) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for some in chunked(sorted(ids)):
        joined = select(source_partitions, sources_table.c.kind, sources_table.c.address)
        found += connection.execute(joined.join_from(source_partitions, sources_table).where(p.id.in_(some))).all()
    return found


def _files(connection: Connection, source_partition_ids: Iterable[int]) -> list[Row[Any]]:
    """The files that are read as these, by address."""
    found: list[Row[Any]] = []
    for some in chunked(sorted(source_partition_ids)):
        states = ("landed", "landing", "quarantined")
        found += connection.execute(select(files).where(f.source_partition_id.in_(some), f.state.in_(states))).all()
    return sorted(found, key=lambda row: row.address)


def _sources_at(connection: Connection, dataset_id: int, version: int) -> set[int]:
    """Source partitions of which that version held rows."""
    s = segments.c
    texts = connection.execute(select(s.source_ids).where(s.dataset_id == dataset_id, live(version))).scalars()
    return {source for text in texts for source in parse_ids(text)}


def _replaced_since(connection: Connection, held: set[int], to: int) -> set[int]:
    found: set[int] = set()
    for some in chunked(sorted(held)):
        found.update(connection.execute(select(p.id).where(p.id.in_(some), p.retracted_version > to)).scalars())
    return found


def _forget_keys(connection: Connection, dataset_id: int, to: int) -> None:
    """Let the idempotency keys of what landed since be used again, but for those whose request was answered."""
    a, key = audit.c, idempotency_keys.c
    since = connection.execute(select(func.min(a.at)).where(a.dataset_id == dataset_id, a.manifest_version > to)).scalar()
    if since is None:
        return
    answered = exists().where(ingestions.c.dataset_id == key.dataset_id, ingestions.c.key == key.key)
    connection.execute(delete(idempotency_keys).where(key.dataset_id == dataset_id, key.created_at >= since, ~answered))
