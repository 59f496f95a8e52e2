"""Partition states, what live segments say about each partition, and the builds somebody asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Row, Subquery, bindparam, case, cast, delete, func, select

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, optional_time, to_micros
from timestore_assets.catalog.manifest import live
from timestore_assets.catalog.portable import Upsert, chunked, upsert
from timestore_assets.catalog.records import LiveRows, PartitionRecord, PartitionState
from timestore_assets.catalog.tables import build_requests, datasets, partitions, segments
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.segment import SegmentKind
from timestore_assets.model.window import Partition, Window

OPEN: Final = "open"
SEALED: Final = "sealed"
STALE: Final = "stale"
EXPIRED: Final = "expired"


class Partitions:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, dataset_id: int) -> list[PartitionRecord]:
        """The partitions of a dataset in order of time."""
        return self._database.read(lambda c: listed(c, dataset_id))

    def rows(self, dataset_id: int) -> int:
        """Rows of all partitions, before deduplication of unbuilt ones."""
        statement = select(_sum(segments.c.rows)).where(segments.c.dataset_id == dataset_id, live(None))
        return self._database.read(lambda c: c.execute(statement).scalar()) or 0

    def held(self, dataset_ids: Collection[int]) -> Mapping[int, LiveRows]:
        """What each of these datasets holds, in one look; those without rows are missing."""
        c = segments.c

        def read(connection: Connection) -> dict[int, LiveRows]:
            found = {}
            for ids in chunked(dataset_ids):
                statement = (
                    select(c.dataset_id, _sum(c.rows).label("rows"), func.max(c.max_time).label("newest"))
                    .where(c.dataset_id.in_(ids), live(None))
                    .group_by(c.dataset_id)
                )
                for row in connection.execute(statement):
                    found[row.dataset_id] = LiveRows(rows=row.rows, newest=optional_time(row.newest))
            return found

        return self._database.read(read)

    def written_in(self, dataset_id: int, schema_versions: Collection[int]) -> dict[datetime, int]:
        """How many live segments of these schema versions each partition has, by its start; those without are missing."""
        c = segments.c
        counted = select(c.partition_start, func.count().label("number")).where(
            c.dataset_id == dataset_id, c.schema_version.in_(list(schema_versions)), live(None)
        )
        statement = counted.group_by(c.partition_start).order_by(c.partition_start)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        return {from_micros(row.partition_start): row.number for row in rows}

    def find(self, dataset_id: int, partition: Partition) -> PartitionRecord | None:
        return self.among(dataset_id, [partition]).get(partition.start)

    def among(self, dataset_id: int, wanted: Collection[Partition]) -> dict[datetime, PartitionRecord]:
        """Those of these partitions that ever held rows, by their start."""

        def read(connection: Connection) -> dict[datetime, PartitionRecord]:
            chunks = chunked(sorted({to_micros(one.start) for one in wanted}))
            return {one.partition.start: one for chunk in chunks for one in listed(connection, dataset_id, starts=chunk)}

        return self._database.read(read)

    def request_builds(self, dataset_id: int, partitions: Sequence[Partition], *, reason: str) -> None:
        """Ask that these be built."""
        self._database.timed(lambda c, now: request(c, dataset_id, partitions, reason=reason, now=now))

    def requested_builds(self, dataset_id: int) -> dict[str, str]:
        """Partition key to reason, for partitions somebody asked to build and that were not built since."""
        r = build_requests.c
        statement = (
            select(r.partition_start, r.reason, datasets.c.window)
            .join_from(build_requests, datasets)
            .where(r.dataset_id == dataset_id)
            .order_by(r.partition_start)
        )
        rows = self._database.read(lambda c: c.execute(statement).all())
        return {Window(row.window).key_of(from_micros(row.partition_start)): row.reason for row in rows}


def listed(connection: Connection, dataset_id: int, *, starts: Sequence[int] | None = None) -> list[PartitionRecord]:
    """All partitions in order of time, or those that start then, of which there may be `PARAMETERS`."""
    p = partitions.c
    totals = _totals(dataset_id, starts)
    statement = (
        select(partitions, totals, datasets.c.window, datasets.c.schema_version.label("current_schema"))
        .join_from(partitions, datasets)
        .outerjoin(totals, totals.c.partition_start == p.start)
        .where(p.dataset_id == dataset_id)
        .order_by(p.start)
    )
    if starts is not None:
        statement = statement.where(p.start.in_(starts))
    return [_record(row) for row in connection.execute(statement)]


_CHANGE = Upsert(
    partitions,
    keys=("dataset_id", "start"),
    set_={
        "state": lambda old, _: case((old.state == SEALED, STALE), else_=old.state),
        "content_hash": lambda _, new: new.content_hash,
        "manifest_version": lambda _, new: new.manifest_version,
    },
)


def changed(connection: Connection, dataset_id: int, starts: Iterable[int], *, version: int) -> None:
    """Rows landed in these partitions: new ones are open, sealed ones become stale."""
    rows = [
        {
            "dataset_id": dataset_id,
            "start": start,
            "state": OPEN,
            "superseded_rows": 0,
            "retracted": False,
            "content_hash": None,
            "manifest_version": version,
        }
        for start in sorted(set(starts))
    ]
    _CHANGE(connection, rows)


_EXPIRED = (
    select(partitions.c.start)
    .where(
        partitions.c.dataset_id == bindparam("of_dataset"),
        partitions.c.start.in_(bindparam("starts", expanding=True)),
        partitions.c.state == EXPIRED,
    )
    .limit(1)
)


def require_none_expired(connection: Connection, dataset_id: int, starts: Iterable[int]) -> None:
    """Let no rows land where they had to leave.

    Raises:
        ConflictError: one of these has expired since they were judged.
    """
    for chunk in chunked(sorted(set(starts))):
        if connection.execute(_EXPIRED, {"of_dataset": dataset_id, "starts": chunk}).first() is not None:
            raise ConflictError("a partition that these rows are for has expired; judge them again")


def lost_rows(connection: Connection, dataset_id: int, starts: Collection[int], *, version: int) -> None:
    """Rows of these partitions were retracted: they need a build."""
    changed(connection, dataset_id, starts, version=version)
    for chunk in chunked(sorted(starts)):
        here = partitions.update().where(partitions.c.dataset_id == dataset_id, partitions.c.start.in_(chunk))
        connection.execute(here.values(retracted=True))


def losing_rows(connection: Connection, dataset_id: int) -> frozenset[int]:
    """Starts of the partitions that hold retracted rows, see `lost_rows`."""
    p = partitions.c
    return frozenset(connection.execute(select(p.start).where(p.dataset_id == dataset_id, p.retracted)).scalars())


def superseded_rows(connection: Connection, dataset_id: int, starts: Iterable[int]) -> int:
    """Rows that builds have removed as duplicates in those of these partitions that hold retracted rows now."""
    p, total = partitions.c, 0
    for chunk in chunked(sorted(set(starts))):
        here = select(_sum(p.superseded_rows)).where(p.dataset_id == dataset_id, p.start.in_(chunk), p.retracted)
        total += connection.execute(here).scalar() or 0
    return total


def find(connection: Connection, dataset_id: int, start: int) -> Row[Any] | None:
    p = partitions.c
    return connection.execute(select(partitions).where(p.dataset_id == dataset_id, p.start == start)).one_or_none()


def has_unbuilt(connection: Connection, dataset_id: int, start: int) -> bool:
    return _has(connection, dataset_id, start, kind="delta")


def has_sealed(connection: Connection, dataset_id: int, start: int) -> bool:
    return _has(connection, dataset_id, start, kind="sealed")


def _has(connection: Connection, dataset_id: int, start: int, *, kind: SegmentKind) -> bool:
    c = segments.c
    statement = select(c.id).where(c.dataset_id == dataset_id, c.partition_start == start, c.kind == kind, live(None))
    return connection.execute(statement.limit(1)).first() is not None


def next_state(before: PartitionState, *, seal: bool, unbuilt: bool, retracted: bool) -> PartitionState:
    """State after a build: sealed only if it should be and nothing is left to build; a lost seal stays visible as stale."""
    if before == EXPIRED:
        return before
    if unbuilt or retracted:
        return STALE if before == SEALED else before
    return SEALED if seal else before


def built(
    connection: Connection,
    dataset_id: int,
    start: int,
    *,
    state: PartitionState,
    superseded_rows: int,
    retracted: bool,
    content_hash: str | None,
    version: int,
) -> None:
    p = partitions.c
    here = partitions.update().where(p.dataset_id == dataset_id, p.start == start)
    values = {
        "state": state,
        "superseded_rows": p.superseded_rows + superseded_rows,
        "retracted": retracted,
        "content_hash": content_hash,
        "manifest_version": version,
    }
    connection.execute(here.values(values))


def states(connection: Connection, dataset_id: int, starts: Iterable[int]) -> dict[int, PartitionState]:
    """The states of partitions, by start."""
    p = partitions.c
    found: dict[int, PartitionState] = {}
    for chunk in chunked(sorted(set(starts))):
        rows = connection.execute(select(p.start, p.state).where(p.dataset_id == dataset_id, p.start.in_(chunk)))
        found.update((row.start, row.state) for row in rows)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltPartition:
    """What `built` writes of one of several partitions, none of which holds retracted rows."""

    start: int
    state: PartitionState
    superseded_rows: int
    content_hash: str | None
    version: int


def built_each(connection: Connection, dataset_id: int, each: Iterable[BuiltPartition]) -> None:
    p = partitions.c
    here = partitions.update().where(p.dataset_id == dataset_id, p.start == bindparam("of"))
    values = {
        "state": bindparam("now"),
        "superseded_rows": p.superseded_rows + bindparam("more"),
        "retracted": False,
        "content_hash": bindparam("hash"),
        "manifest_version": bindparam("version"),
    }
    rows = [
        {"of": one.start, "now": one.state, "more": one.superseded_rows, "hash": one.content_hash, "version": one.version}
        for one in each
    ]
    connection.execute(here.values(values), rows)


def request(connection: Connection, dataset_id: int, wanted: Sequence[Partition], *, reason: str, now: int) -> None:
    rows = [
        {"dataset_id": dataset_id, "partition_start": to_micros(one.start), "reason": reason, "requested_at": now}
        for one in wanted
    ]
    upsert(connection, build_requests, rows, keys=("dataset_id", "partition_start"), set_={"reason": lambda _, new: new.reason})


def fulfil_request(connection: Connection, dataset_id: int, start: int) -> bool:
    r = build_requests.c
    return connection.execute(delete(build_requests).where(r.dataset_id == dataset_id, r.partition_start == start)).rowcount > 0


def fulfil_requests(connection: Connection, dataset_id: int, starts: Iterable[int]) -> None:
    r = build_requests.c
    for chunk in chunked(sorted(set(starts))):
        connection.execute(delete(build_requests).where(r.dataset_id == dataset_id, r.partition_start.in_(chunk)))


def _totals(dataset_id: int, starts: Sequence[int] | None) -> Subquery:
    c = segments.c
    delta = c.kind == "delta"
    statement = (
        select(
            c.partition_start,
            _sum(c.rows).label("rows"),
            _sum(c.bytes).label("bytes"),
            func.count().label("segments"),
            _sum(case((delta, 1), else_=0)).label("deltas"),
            _sum(case((delta & (c.level == 0), 1), else_=0)).label("fresh_deltas"),
            _sum(case((delta, c.rows), else_=0)).label("unbuilt_rows"),
            _sum(case((delta, c.bytes), else_=0)).label("unbuilt_bytes"),
            func.min(case((delta, c.added_at))).label("oldest_delta_at"),
            func.max(c.added_at).label("newest_at"),
            func.min(c.min_time).label("min_time"),
            func.max(c.max_time).label("max_time"),
            func.max(c.schema_version).label("schema_version"),
        )
        .where(c.dataset_id == dataset_id, live(None))
        .group_by(c.partition_start)
    )
    return (statement if starts is None else statement.where(c.partition_start.in_(starts))).subquery()


def _sum(expression: Any) -> Any:
    # PostgreSQL's sum of bigint is numeric, which would arrive as Decimal
    return cast(func.sum(expression), BigInteger)


def _record(row: Row[Any]) -> PartitionRecord:
    return PartitionRecord(
        partition=Partition(window=Window(row.window), start=from_micros(row.start)),
        state=row.state,
        rows=row.rows or 0,
        bytes=row.bytes or 0,
        segments=row.segments or 0,
        deltas=row.deltas or 0,
        fresh_deltas=row.fresh_deltas or 0,
        unbuilt_rows=row.unbuilt_rows or 0,
        unbuilt_bytes=row.unbuilt_bytes or 0,
        oldest_delta_at=optional_time(row.oldest_delta_at),
        min_time=optional_time(row.min_time),
        max_time=optional_time(row.max_time),
        schema_version=row.schema_version or row.current_schema,
        superseded_rows=row.superseded_rows,
        retracted=row.retracted,
        content_hash=row.content_hash,
        manifest_version=row.manifest_version,
        newest_at=optional_time(row.newest_at),
    )
