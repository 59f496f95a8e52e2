"""Files of a source: what content stands at which address, whether it is new, known, a copy or a change, and its fate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from timestore_assets.catalog import datasets, file_chunks, file_states, sources
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.file_states import SETTLED, UNSETTLED, to_record, with_position
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import FileRecord, FileState
from timestore_assets.catalog.sessions import is_alive
from timestore_assets.catalog.tables import files
from timestore_assets.catalog.tables import sources as sources_table
from timestore_assets.model.counters import NO_COUNTS, Counters


class Files:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, source_id: int, *, states: Sequence[FileState] | None = None) -> list[FileRecord]:
        """The record that stands for each address of a source now, by address."""
        statement = with_position().where(files.c.source_id == source_id, files.c.newest).order_by(files.c.address)
        if states is not None:
            statement = statement.where(files.c.state.in_(states))
        return self._database.read(lambda c: [to_record(row) for row in c.execute(statement)])

    def at(self, source_id: int, address: str) -> FileRecord | None:
        """The record that stands for an address now."""
        here = with_position().where(files.c.source_id == source_id, files.c.address == address, files.c.newest)
        row = self._database.read(lambda c: c.execute(here).one_or_none())
        return None if row is None else to_record(row)

    def pending(self, dataset_id: int) -> int:
        """How many files were discovered and are not settled (pending or landing)."""
        return self._database.read(lambda c: _count(c, dataset_id, UNSETTLED))

    def quarantined(self, dataset_id: int) -> int:
        """How many files stand in quarantine."""
        return self._database.read(lambda c: _count(c, dataset_id, ("quarantined",)))

    def settled_etags(self, source_id: int, addresses: Sequence[str]) -> dict[str, str]:
        """Of these addresses those whose content's fate is decided (landed, duplicate, rejected, quarantined), with its etag."""

        def read(c: Connection) -> dict[str, str]:
            # by name and not by range: a range may hold millions that are gone, and its order depends on the database's collation
            found: dict[str, str] = {}
            for some in chunked(addresses):
                wanted = files.c.source_id == source_id, files.c.address.in_(some), files.c.newest, files.c.state.in_(SETTLED)
                rows = c.execute(select(files.c.address, files.c.etag).where(*wanted))
                found.update({row.address: row.etag for row in rows})
            return found

        return self._database.read(read)

    def observe(self, source_id: int, *, address: str, sha256: str, etag: str, size: int, replace: bool) -> FileRecord:
        """Decide what a content at an address is, in one transaction, and return its record.

        * The same content has landed, or is landing, in this dataset at another address: `duplicate`, with the reason naming
          that one, and its records counted as duplicates.
        * The same content at this address: the existing record (etag refreshed), whatever its state, so that an unfinished
          one resumes.
        * A content that was retracted is new: it lands again.
        * Other content while this address has a landed or landing record: `rejected`, or with `replace` a new `pending` one.
        * Otherwise a new `pending` record.

        A `pending` record gets its source partition (named by sha256, plus the address when it replaces) and `replaces`, which
        also names what landed before a quarantine at its address. A content that waits at two addresses has one source
        partition, so it lands once; when it has, the other record becomes a `duplicate`. What a dead session left half landed
        may be resumed from another address (the first may be gone). A file without a single record can still be filled.
        """
        return self._database.timed(
            lambda c, now: observe(c, source_id, address=address, sha256=sha256, etag=etag, size=size, replace=replace, now=now)
        )

    def settle(self, file_id: int, state: FileState, *, reason: str = "", counters: Counters = NO_COUNTS) -> None:
        """Move a file to `quarantined`, `duplicate`, … outside a landing commit; audited, with an outbox event."""
        write_once(
            self._database,
            lambda c, token, now: file_states.settle(c, file_id, state, reason=reason, counters=counters, token=token, now=now),
        )


Rows = Sequence[Row[Any]]


def observe(
    connection: Connection, source_id: int, *, address: str, sha256: str, etag: str, size: int, replace: bool, now: int
) -> FileRecord:
    """See `Files.observe`."""
    dataset_id: int = sources.owner(connection, source_id).dataset_id
    dataset = datasets.lock(connection, dataset_id)
    at_address = files.c.source_id == source_id, files.c.address == address
    here = connection.execute(file_states.with_position().where(*at_address).order_by(files.c.id.desc())).all()
    same = next((row for row in here if row.sha256 == sha256 and row.state not in ("replaced", "retracted")), None)
    if same is None:
        values = {
            "dataset_id": dataset_id,
            "source_id": source_id,
            "address": address,
            "sha256": sha256,
            "etag": etag,
            "bytes": size,
            # what replaces a content is written as that was
            "schema_version": here[-1].schema_version if here else dataset.schema_version,
        }
        file_id = _insert(connection, values, now=now)
        _decide(connection, file_id, here, replace=replace, now=now)
    else:
        file_id = same.id
        connection.execute(files.update().where(files.c.id == file_id).values(etag=etag))
        _reconsider(connection, same, [row for row in here if row.id != file_id], replace=replace, now=now)
    if here and (same is None or not same.newest):
        connection.execute(files.update().where(*at_address).values(newest=files.c.id == file_id))
    return file_states.one(connection, file_id)


def _reconsider(connection: Connection, same: Row[Any], others: Rows, *, replace: bool, now: int) -> None:
    if same.state in file_states.UNSETTLED:
        # which rows it replaces may have changed while it waited
        connection.execute(
            files.update().where(files.c.id == same.id).values(replaces=_replaces(connection, same.source_partition_id, others))
        )
        return
    allowed = same.state == "rejected" and (replace or not _occupied(others))
    orphaned = same.state == "duplicate" and _original(connection, same, now=now, ever=True) is None
    if allowed or orphaned:
        _make_pending(connection, same, others, now=now)


def _count(connection: Connection, dataset_id: int, states: Sequence[FileState]) -> int:
    wanted = select(func.count()).where(files.c.dataset_id == dataset_id, files.c.newest, files.c.state.in_(states))
    count: int = connection.execute(wanted).scalar_one()
    return count


def _decide(connection: Connection, file_id: int, others: Rows, *, replace: bool, now: int) -> None:
    file = connection.execute(select(files).where(files.c.id == file_id)).one()
    original = _original(connection, file, now=now)
    if original is not None:
        counters = file_states.copied(connection, original.source_partition_id) if original.state == "landed" else Counters()
        reason = file_states.duplicate_reason(original.address, original.state)
        _refuse(connection, file, "duplicate", reason, counters, now=now)
    elif _occupied(others) and not replace:
        reason = f"the content at {file.address} changed after it had landed; `on_change: replace` would take the new one"
        _refuse(connection, file, "rejected", reason, Counters(), now=now)
    else:
        _make_pending(connection, file, others, now=now)


def _original(connection: Connection, file: Row[Any], *, now: int, ever: bool = False) -> Row[Any] | None:
    """The record by which this content has landed, is landing (and somebody is at it), or with `ever` once landed."""
    elsewhere = connection.execute(
        select(files)
        .where(files.c.dataset_id == file.dataset_id, files.c.sha256 == file.sha256)
        .where((files.c.source_id != file.source_id) | (files.c.address != file.address))
        .order_by(files.c.id)
    ).all()
    done = ("landed", "replaced", "retracted") if ever else ("landed",)
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
    return json.dumps(sorted(file_chunks.with_parts(connection, partitions)))


def _make_pending(connection: Connection, file: Row[Any], others: Rows, *, now: int) -> None:
    replaces = _replaces(connection, None, others)
    values = {
        "state": "pending",
        "reason": "",
        "replaces": replaces,
        "source_partition_id": _source_partition(connection, file, alone=replaces != "[]"),
        "updated_at": now,
    }
    connection.execute(files.update().where(files.c.id == file.id).values(values))


def _source_partition(connection: Connection, file: Row[Any], *, alone: bool) -> int:
    """The source partition a content is read as: one for all addresses where it waits, so that it lands once.

    A replacement has one to itself: its rows wait, and leave, with this address.
    """
    if not alone:
        shared = connection.execute(
            file_states.with_position()
            .where(files.c.dataset_id == file.dataset_id, files.c.sha256 == file.sha256, files.c.id != file.id)
            .where(files.c.state.in_(file_states.UNSETTLED), files.c.replaces == "[]")
            .order_by(files.c.id)
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
    file_id: int = connection.execute(files.insert().returning(files.c.id), values | rest).scalar_one()
    return file_id


def _refuse(connection: Connection, file: Row[Any], state: FileState, reason: str, counters: Counters, *, now: int) -> None:
    file_states.set_state(connection, file.id, state, reason=reason, now=now)
    sources.add_counters(connection, files, file.id, counters)
    sources.add_counters(connection, sources_table, file.source_id, counters)
    file_states.tell(connection, file, state, reason=reason, counters=counters, now=now)
