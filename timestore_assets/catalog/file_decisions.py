"""What a content at an address is: new, known, a copy, a change to refuse or to take over (SEMANTICS §7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import chunks, datasets, files, sources
from timestore_assets.catalog.records import Counters, FileRecord, FileState
from timestore_assets.catalog.sessions import is_alive
from timestore_assets.catalog.tables import files as table
from timestore_assets.catalog.tables import sources as sources_table

Rows = Sequence[Row[Any]]


def observe(
    connection: Connection, source_id: int, *, address: str, sha256: str, etag: str, size: int, replace: bool, now: int
) -> FileRecord:
    """See `Catalog.observe_file`."""
    dataset_id: int = sources.owner(connection, source_id).dataset_id
    datasets.lock(connection, dataset_id)
    at_address = table.c.source_id == source_id, table.c.address == address
    here = connection.execute(files.with_position().where(*at_address).order_by(table.c.id.desc())).all()
    same = next((row for row in here if row.sha256 == sha256 and row.state != "replaced"), None)
    if same is None:
        values = {
            "dataset_id": dataset_id,
            "source_id": source_id,
            "address": address,
            "sha256": sha256,
            "etag": etag,
            "bytes": size,
        }
        file_id = _insert(connection, values, now=now)
        _decide(connection, file_id, here, replace=replace, now=now)
    else:
        file_id = same.id
        connection.execute(table.update().where(table.c.id == file_id).values(etag=etag))
        _reconsider(connection, same, [row for row in here if row.id != file_id], replace=replace, now=now)
    if here and (same is None or not same.newest):
        connection.execute(table.update().where(*at_address).values(newest=table.c.id == file_id))
    return files.one(connection, file_id)


def _reconsider(connection: Connection, same: Row[Any], others: Rows, *, replace: bool, now: int) -> None:
    if same.state in files.UNSETTLED:
        # which rows it replaces may have changed while it waited
        connection.execute(
            table.update().where(table.c.id == same.id).values(replaces=_replaces(connection, same.source_partition_id, others))
        )
        return
    allowed = same.state == "rejected" and (replace or not _occupied(others))
    orphaned = same.state == "duplicate" and _original(connection, same, now=now, ever=True) is None
    if allowed or orphaned:
        _make_pending(connection, same, others, now=now)


def _decide(connection: Connection, file_id: int, others: Rows, *, replace: bool, now: int) -> None:
    file = connection.execute(select(table).where(table.c.id == file_id)).one()
    original = _original(connection, file, now=now)
    if original is not None:
        counters = files.copied(connection, original.source_partition_id) if original.state == "landed" else Counters()
        reason = files.duplicate_reason(original.address, original.state)
        _refuse(connection, file, "duplicate", reason, counters, now=now)
    elif _occupied(others) and not replace:
        reason = f"the content at {file.address} changed after it had landed; `on_change: replace` would take the new one"
        _refuse(connection, file, "rejected", reason, Counters(), now=now)
    else:
        _make_pending(connection, file, others, now=now)


def _original(connection: Connection, file: Row[Any], *, now: int, ever: bool = False) -> Row[Any] | None:
    """The record by which this content has landed, is landing (and somebody is at it), or with `ever` once landed."""
    elsewhere = connection.execute(
        select(table)
        .where(table.c.dataset_id == file.dataset_id, table.c.sha256 == file.sha256)
        .where((table.c.source_id != file.source_id) | (table.c.address != file.address))
        .order_by(table.c.id)
    ).all()
    done = ("landed", "replaced") if ever else ("landed",)
    for row in elsewhere:
        if row.state in done or (row.state == "landing" and is_alive(connection, row.session_id, now=now)):
            return row
    return None


def _occupied(others: Rows) -> bool:
    # a file that held no record yet can still be filled: nothing of it would be replaced
    return any(row.state in ("landed", "landing") and row.read > 0 for row in others)


def _replaces(connection: Connection, own: int | None, others: Rows) -> str:
    """Source partitions with rows of former contents at this address, including what landed before a quarantine."""
    states = ("landed", "landing", "quarantined")
    former = [row for row in others if row.state in states and row.read > 0 and row.retracted_version is None]
    partitions = {row.source_partition_id for row in former} - {own, None}
    return json.dumps(sorted(chunks.with_parts(connection, partitions)))


def _make_pending(connection: Connection, file: Row[Any], others: Rows, *, now: int) -> None:
    replaces = _replaces(connection, None, others)
    values = {
        "state": "pending",
        "reason": "",
        "replaces": replaces,
        "source_partition_id": _source_partition(connection, file, alone=replaces != "[]"),
        "updated_at": now,
    }
    connection.execute(table.update().where(table.c.id == file.id).values(values))


def _source_partition(connection: Connection, file: Row[Any], *, alone: bool) -> int:
    """The source partition a content is read as: one for all addresses where it waits, so that it lands once.

    A replacement has one to itself: its rows wait, and leave, with this address.
    """
    if not alone:
        shared = connection.execute(
            files.with_position()
            .where(table.c.dataset_id == file.dataset_id, table.c.sha256 == file.sha256, table.c.id != file.id)
            .where(table.c.state.in_(files.UNSETTLED), table.c.replaces == "[]")
            .order_by(table.c.id)
        ).all()
        for row in shared:
            if row.source_partition_id is not None and row.retracted_version is None:
                found: int = row.source_partition_id
                return found
    names = [f"{file.sha256}:{file.address}", f"{file.sha256}:{file.address}#{file.id}"]
    for name in names if alone else [file.sha256, *names]:
        partition = sources.ensure_partition(connection, file.source_id, name)
        if not sources.is_retracted(connection, partition.id):
            return partition.id
    raise AssertionError("a name with the file's own id is new")


def _insert(connection: Connection, values: dict[str, Any], *, now: int) -> int:
    rest = {"state": "pending", "reason": "", "replaces": "[]", "newest": True, "created_at": now, "updated_at": now}
    file_id: int = connection.execute(table.insert().returning(table.c.id), values | rest).scalar_one()
    return file_id


def _refuse(connection: Connection, file: Row[Any], state: FileState, reason: str, counters: Counters, *, now: int) -> None:
    files.set_state(connection, file.id, state, reason=reason, now=now)
    sources.add_counters(connection, table, file.id, counters)
    sources.add_counters(connection, sources_table, file.source_id, counters)
    files.tell(connection, file, state, reason=reason, counters=counters, now=now)
