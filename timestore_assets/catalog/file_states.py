"""What became of a file: its states, told in the audit and by events, its counters, and the copies that go with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, cast, func, or_, select

from timestore_assets.catalog import audit, datasets, outbox, sources
from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.records import FileRecord, FileState
from timestore_assets.catalog.sources import add_counters, counters_of
from timestore_assets.catalog.tables import file_chunks, files, segments, source_partitions
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.counters import Counters
from timestore_assets.model.errors import ForgottenError
from timestore_assets.model.position import Position

UNSETTLED: tuple[FileState, ...] = ("pending", "landing")
SETTLED: tuple[FileState, ...] = ("landed", "duplicate", "rejected", "quarantined", "retracted")


def one(connection: Connection, file_id: int) -> FileRecord:
    row = connection.execute(with_position().where(files.c.id == file_id)).one_or_none()
    if row is None:
        raise ForgottenError(f"the catalog has no file {file_id}")
    return to_record(row)


def settle(
    connection: Connection, file_id: int, state: FileState, *, reason: str, counters: Counters, token: str, now: int
) -> int:
    """Move a file to a state outside a landing commit; returns the manifest version, which stays."""
    if not counters.balanced:
        raise ValueError(f"counters do not add up: {counters}")
    dataset_id = connection.execute(select(files.c.dataset_id).where(files.c.id == file_id)).scalar()
    if dataset_id is None:
        raise ForgottenError(f"the catalog has no file {file_id}")
    dataset = datasets.lock(connection, dataset_id)
    file = connection.execute(select(files).where(files.c.id == file_id)).one()
    if state == "quarantined" and file.state != "quarantined":
        counters += _held(connection, file.source_partition_id)
    set_state(connection, file_id, state, reason=reason, now=now)
    add_counters(connection, files, file_id, counters)
    add_counters(connection, sources_table, file.source_id, counters)
    tell(
        connection, file, state, reason=reason, counters=counters, now=now, token=token, manifest_version=dataset.manifest_version
    )
    if state == "landed":
        settle_copies(connection, file_id, now=now)
    version: int = dataset.manifest_version
    return version


def take_up(connection: Connection, file_id: int) -> None:
    """A quarantined file goes on after all: what was held of a replacement counts as landed again."""
    file = connection.execute(select(files).where(files.c.id == file_id)).one_or_none()
    if file is not None and file.state == "quarantined":
        held = _held(connection, file.source_partition_id)
        add_counters(connection, files, file_id, Counters(landed=-held.landed, held=-held.held))
        add_counters(connection, sources_table, file.source_id, Counters(landed=-held.landed, held=-held.held))


def follow_replay(connection: Connection, batch: LandingCommit) -> None:
    """Dead letters of a file that land by a replay change its counters too; all of a dead-letter file are of one source."""
    read_as = {at for segment in batch.segments for at in segment.source_ids}
    if len(read_as) != 1:
        return  # of topics
    (partition,), f = read_as, files.c
    part = select(file_chunks.c.file_id).where(file_chunks.c.source_partition_id == partition)
    # its copies at other addresses are read as the same source partition, and have counted nothing but duplicates
    had = [f[name] >= -number for name, number in batch.counters.items() if number < 0]
    own = select(f.id).where(or_(f.source_partition_id == partition, f.id.in_(part)), *had).order_by(f.id).limit(1)
    file_id = connection.execute(own).scalar()
    if file_id is not None:
        add_counters(connection, files, file_id, batch.counters)


def set_state(connection: Connection, file_id: int, state: FileState, *, reason: str, now: int) -> None:
    connection.execute(files.update().where(files.c.id == file_id).values(state=state, reason=reason, updated_at=now))


def tell(
    connection: Connection,
    file: Row[Any],
    state: FileState,
    *,
    reason: str,
    counters: Counters,
    now: int,
    token: str | None = None,
    manifest_version: int | None = None,
) -> None:
    """Audit a file's new state and queue an event of it."""
    source = sources.owner(connection, file.source_id)
    payload = {
        "source": source.address,
        "address": file.address,
        "state": state,
        "reason": reason,
        "bytes": file.bytes,
        "counters": asdict(counters),
    }
    details = {"file_id": file.id, **payload}
    audit.record(
        connection,
        file.dataset_id,
        actor="timestore",
        action=f"file_{state}",
        details=details,
        now=now,
        token=token,
        manifest_version=manifest_version,
    )
    outbox.queue(connection, file.dataset_id, f"file_{state}", payload, now=now)


def settle_copies(connection: Connection, file_id: int, *, now: int) -> None:
    """A content has landed: its other addresses that were waiting to land it are duplicates now."""
    landed = connection.execute(select(files).where(files.c.id == file_id)).one()
    copies = connection.execute(
        select(files).where(
            files.c.dataset_id == landed.dataset_id,
            files.c.sha256 == landed.sha256,
            files.c.id != file_id,
            files.c.state.in_(UNSETTLED),
        )
    ).all()
    reason = duplicate_reason(landed.address, "landed")
    for copy in copies:
        counters = copied(connection, landed.source_partition_id) if copy.read == 0 else Counters()
        set_state(connection, copy.id, "duplicate", reason=reason, now=now)
        add_counters(connection, files, copy.id, counters)
        add_counters(connection, sources_table, copy.source_id, counters)
        tell(connection, copy, "duplicate", reason=reason, counters=counters, now=now)


def copied(connection: Connection, source_partition_id: int | None) -> Counters:
    """Counters of a file whose every record has been read at another address."""
    own = files.c.read - files.c.duplicates
    statement = select(cast(func.coalesce(func.sum(own), 0), BigInteger)).where(
        files.c.source_partition_id == source_partition_id
    )
    records: int = connection.execute(statement).scalar_one()
    return Counters(read=records, duplicates=records)


def duplicate_reason(address: str, state: str) -> str:
    return f"same content as {address}, which has landed" if state == "landed" else f"same content as {address}, which is landing"


def with_position() -> Select[Any]:
    partition = source_partitions.c
    return select(files, partition.position_offset, partition.position_line, partition.retracted_version).outerjoin_from(
        files, source_partitions
    )


def to_record(row: Row[Any]) -> FileRecord:
    return FileRecord(
        id=row.id,
        source_id=row.source_id,
        address=row.address,
        sha256=row.sha256,
        etag=row.etag,
        bytes=row.bytes,
        state=row.state,
        source_partition_id=row.source_partition_id,
        position=Position(offset=row.position_offset or 0, line=row.position_line or 0),
        counters=counters_of(row),
        reason=row.reason,
        updated_at=from_micros(row.updated_at),
        replaces=tuple(json.loads(row.replaces)),
        schema_version=row.schema_version,
    )


def _held(connection: Connection, source_partition_id: int | None) -> Counters:
    # rows of a replacement that can't be completed never become visible, so they have not landed: they are held
    c = segments.c
    waiting = c.waiting_for == source_partition_id, c.added_version.is_(None), c.removed_version.is_(None)
    rows: int = connection.execute(select(cast(func.coalesce(func.sum(c.rows), 0), BigInteger)).where(*waiting)).scalar_one()
    return Counters(landed=-rows, held=rows)
