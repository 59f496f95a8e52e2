"""Sources, their partitions with the checkpoints, and the counters of what became of their records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, bindparam, case, or_, select

from timestore_assets.catalog import audit, outbox
from timestore_assets.catalog.commit_values import Span
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import duration_micros, optional_time, to_micros
from timestore_assets.catalog.portable import Upsert, chunked, insert_ignore
from timestore_assets.catalog.records import SourcePartition, SourceRecord
from timestore_assets.catalog.tables import files, landed_rows, source_partitions, sources
from timestore_assets.model.counters import COUNTERS, Counters
from timestore_assets.model.errors import ForgottenError
from timestore_assets.model.position import START, Position
from timestore_assets.model.source_kinds import SourceKind

_INCOMPLETE = ("pending", "landing", "quarantined")
KEPT_SECONDS = 3600
"""How far back `throughput` can look."""


class Sources:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, dataset_id: int, kind: SourceKind, address: str) -> SourceRecord:
        """The source of that address, made when it is new."""
        row = self._database.read(lambda c: c.execute(_at(dataset_id, kind, address)).one_or_none())
        return _record(row) if row else self._database.write(lambda c: ensure(c, dataset_id, kind, address))

    def of(self, dataset_id: int) -> list[SourceRecord]:
        """The sources of a dataset, the oldest first."""
        return self._database.read(lambda c: listed(c, dataset_id))

    def of_each(self, dataset_ids: Collection[int]) -> Mapping[int, list[SourceRecord]]:
        """The sources of these datasets in one look, the oldest first; datasets without any are missing."""

        def read(connection: Connection) -> dict[int, list[SourceRecord]]:
            found: dict[int, list[SourceRecord]] = {}
            for ids in chunked(dataset_ids):
                for row in connection.execute(select(sources).where(sources.c.dataset_id.in_(ids)).order_by(sources.c.id)):
                    found.setdefault(row.dataset_id, []).append(_record(row))
            return found

        return self._database.read(read)

    def partition(self, source_id: int, name: str) -> SourcePartition:
        """The source partition of that name with its checkpoint, made at START when it is new."""
        row = self._database.read(lambda c: c.execute(_named(source_id, name)).one_or_none())
        return _partition(row) if row else self._database.write(lambda c: ensure_partition(c, source_id, name))

    def checkpoints(self, source_partition_ids: Sequence[int]) -> dict[int, Position]:
        """Where these source partitions stand."""
        p = source_partitions.c

        def read(c: Connection) -> dict[int, Position]:
            found = {}
            for ids in chunked(source_partition_ids):
                rows = c.execute(select(p.id, p.position_offset, p.position_line).where(p.id.in_(ids)))
                found.update({row.id: Position(offset=row.position_offset, line=row.position_line) for row in rows})
            return found

        return self._database.read(read)

    def withdrawn(self, source_partition_ids: Sequence[int]) -> set[int]:
        """Of these those to which nothing may be added now: their rows were replaced, or are a replacement not yet complete."""
        return self._database.read(lambda c: withdrawn(c, source_partition_ids))

    def pause(self, source_id: int, reason: str) -> None:
        """Say that landing from a source is paused and why, or with an empty reason that it goes on; audited when it changes."""
        self._database.timed(lambda c, now: pause(c, source_id, reason, now=now))

    def throughput(self, dataset_id: int, *, seconds: float) -> dict[int, float]:
        """Landed rows per second by source id over the last so many seconds."""
        return self._database.read(lambda c: throughput(c, dataset_id, seconds=seconds, now=self._database.now(c)))


def find(connection: Connection, dataset_id: int, kind: SourceKind, address: str) -> SourceRecord | None:
    row = connection.execute(_at(dataset_id, kind, address)).one_or_none()
    return None if row is None else _record(row)


def ensure(connection: Connection, dataset_id: int, kind: SourceKind, address: str) -> SourceRecord:
    insert_ignore(connection, sources, {"dataset_id": dataset_id, "kind": kind, "address": address})
    return _record(connection.execute(_at(dataset_id, kind, address)).one())


def listed(connection: Connection, dataset_id: int) -> list[SourceRecord]:
    rows = connection.execute(select(sources).where(sources.c.dataset_id == dataset_id).order_by(sources.c.id))
    return [_record(row) for row in rows]


_OWNER = select(sources).where(sources.c.id == bindparam("wanted"))


def owner(connection: Connection, source_id: int) -> Row[Any]:
    """The source's row; KeyError when there is none."""
    row = connection.execute(_OWNER, {"wanted": source_id}).one_or_none()
    if row is None:
        raise ForgottenError(f"the catalog has no source {source_id}")
    return row


def ensure_partition(connection: Connection, source_id: int, name: str) -> SourcePartition:
    owner(connection, source_id)
    start = {"position_offset": START.offset, "position_line": START.line}
    insert_ignore(connection, source_partitions, {"source_id": source_id, "name": name, **start})
    return _partition(connection.execute(_named(source_id, name)).one())


_AT_START = source_partitions.update().where(
    source_partitions.c.id == bindparam("of_partition"),
    # two sources of a dataset may offer the same content, which then has one source partition
    source_partitions.c.source_id.in_(select(sources.c.id).where(sources.c.dataset_id == bindparam("of_dataset"))),
    source_partitions.c.position_offset == bindparam("from_offset"),
    source_partitions.c.position_line == bindparam("from_line"),
    source_partitions.c.retracted_version.is_(None),
)
_ADVANCE = _AT_START.values(position_offset=bindparam("to_offset"), position_line=bindparam("to_line"))


def advance(connection: Connection, span: Span, *, dataset_id: int, session_id: int | None) -> bool:
    """Compare and set a checkpoint; False when it was not at the start, or its rows have been retracted since.

    `session_id`: the session that must hold the source partition, None when it need not be held.
    """
    c = source_partitions.c
    statement = _ADVANCE
    if span.newest is not None:
        newest = to_micros(span.newest)
        statement = statement.values(newest=case((or_(c.newest.is_(None), c.newest < newest), newest), else_=c.newest))
    if span.quiet is not None:
        statement = statement.values(quiet=duration_micros(span.quiet))
    if session_id is not None:
        statement = statement.where(c.session_id == session_id)
    values = {
        "of_partition": span.source_partition_id,
        "of_dataset": dataset_id,
        "from_offset": span.start.offset,
        "from_line": span.start.line,
        "to_offset": span.end.offset,
        "to_line": span.end.line,
    }
    return connection.execute(statement, values).rowcount == 1


def is_retracted(connection: Connection, partition_id: int) -> bool:
    c = source_partitions.c
    return connection.execute(select(c.retracted_version).where(c.id == partition_id)).scalar_one() is not None


def withdrawn(connection: Connection, partition_ids: Iterable[int]) -> set[int]:
    """See `Sources.withdrawn`."""
    c, f = source_partitions.c, files.c
    found: set[int] = set()
    for ids in chunked(partition_ids):
        gone = select(c.id).where(c.id.in_(ids), c.retracted_version.is_not(None))
        hidden = select(f.source_partition_id).where(f.source_partition_id.in_(ids), f.replaces != "[]", f.state.in_(_INCOMPLETE))
        found.update(connection.execute(gone.union(hidden)).scalars())
    return found


def retract(connection: Connection, partition_ids: Iterable[int], *, version: int) -> list[int]:
    """Close source partitions for ever; returns those that were not closed before."""
    closed: list[int] = []
    for ids in chunked(sorted(set(partition_ids))):
        statement = source_partitions.update().where(
            source_partitions.c.id.in_(ids), source_partitions.c.retracted_version.is_(None)
        )
        closed += connection.execute(statement.values(retracted_version=version).returning(source_partitions.c.id)).scalars()
    return closed


def reopen(connection: Connection, partition_ids: Iterable[int], *, version: int) -> None:
    """Take back that source partitions were closed at that version."""
    c = source_partitions.c
    for ids in chunked(sorted(partition_ids)):
        closed = source_partitions.update().where(c.id.in_(ids), c.retracted_version == version)
        connection.execute(closed.values(retracted_version=None))


def pause(connection: Connection, source_id: int, reason: str, *, now: int) -> None:
    """See `Sources.pause`."""
    source = owner(connection, source_id)
    if bool(source.paused) != bool(reason):
        details = {"source": source.address, "reason": reason or "goes on"}
        action = "landing_paused" if reason else "landing_resumed"
        audit.record(connection, source.dataset_id, actor="timestore", action=action, details=details, now=now)
        outbox.queue(connection, source.dataset_id, action, {**details, "source_kind": source.kind}, now=now)
    connection.execute(sources.update().where(sources.c.id == source_id).values(paused=reason))


def add_counters(connection: Connection, table: Table, row_id: int, counters: Counters) -> None:
    """Add to the counters of a source or a file."""
    added = {name: table.c[name] + count for name, count in counters.items() if count}
    if added:
        connection.execute(table.update().where(table.c.id == row_id).values(added))


def counters_of(row: Row[Any]) -> Counters:
    return Counters(**{name: getattr(row, name) for name in COUNTERS})


_LAND = Upsert(landed_rows, keys=("source_id", "second"), set_={"rows": lambda old, new: old.rows + new.rows})
_STALE = landed_rows.delete().where(
    landed_rows.c.source_id == bindparam("of_source"), landed_rows.c.second < bindparam("first_kept")
)


def note_landed(connection: Connection, source_id: int, rows: int, *, now: int) -> None:
    """Count rows in the second they landed in, and forget seconds that nobody asks about any more."""
    second = now // 1_000_000
    connection.execute(_STALE, {"of_source": source_id, "first_kept": second - KEPT_SECONDS})
    _LAND(connection, [{"source_id": source_id, "second": second, "rows": rows}])


def throughput(connection: Connection, dataset_id: int, *, seconds: float, now: int) -> dict[int, float]:
    """Landed rows per second by source over the last `seconds` (an hour at most)."""
    window = min(seconds, KEPT_SECONDS)
    totals = dict.fromkeys(connection.execute(select(sources.c.id).where(sources.c.dataset_id == dataset_id)).scalars(), 0)
    rows = connection.execute(
        select(landed_rows.c.source_id, landed_rows.c.rows)
        .join_from(landed_rows, sources)
        .where(sources.c.dataset_id == dataset_id, landed_rows.c.second > now / 1_000_000 - window)
    )
    for source_id, landed in rows:
        totals[source_id] += landed
    return {source_id: total / window for source_id, total in totals.items()}


def _at(dataset_id: int, kind: SourceKind, address: str) -> Select[Any]:
    c = sources.c
    return select(sources).where(c.dataset_id == dataset_id, c.kind == kind, c.address == address)


def _named(source_id: int, name: str) -> Select[Any]:
    c = source_partitions.c
    return select(source_partitions).where(c.source_id == source_id, c.name == name)


def _partition(row: Row[Any]) -> SourcePartition:
    position = Position(offset=row.position_offset, line=row.position_line)
    return SourcePartition(id=row.id, source_id=row.source_id, name=row.name, position=position)


def _record(row: Row[Any]) -> SourceRecord:
    return SourceRecord(
        id=row.id,
        dataset_id=row.dataset_id,
        kind=row.kind,
        address=row.address,
        counters=counters_of(row),
        watermark=optional_time(row.watermark),
        paused=row.paused,
    )
