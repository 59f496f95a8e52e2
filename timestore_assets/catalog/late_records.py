"""The ledger of late data: how many records came after their partition was closed, from where, how late, and what became of them.

A record is late when the watermark of its topics had closed its partition, or when it lands in a partition that has been
sealed. It is `dropped` or `held` as the dataset's policy says, or `corrected`: it landed, and its partition is built again.

How late is counted from when the partition was closed: by how much longer `late.allowed` would have had to be. What has been
closed is said by the watermark of the record's source, as committed before its batch, and by the newest partition that was
sealed; the later counts. It is kept as the power of two of seconds that it reaches.

What is held and then accepted or refused moves in the ledger with the records, keeping how late they were; so does what was
dropped and is replayed. The rows of `held` and `dropped` add up to what the sources' counters say of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, Connection, Row, bindparam, case, cast, func, select

from timestore_assets.catalog import sources
from timestore_assets.catalog.commit_values import FileProgress, LandingCommit, ReplaySettlement
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import Change, chunked, upsert
from timestore_assets.catalog.records import DeadLetterFile, DeadLetterKind, LateRows
from timestore_assets.catalog.tables import dead_letter_files, late_records, partitions, segments
from timestore_assets.model.window import Partition, Window

LateDisposition = Literal["corrected", "dropped", "held"]
_OF_KIND: Mapping[DeadLetterKind, LateDisposition] = {"late_dropped": "dropped", "held": "held"}
_WAS_SEALED = ("sealed", "stale")

Cell = tuple[int, int]
"""Start of a partition, in microseconds, and lateness."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Came:
    rows: int
    first: int
    last: int
    """When, in microseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LateCount:
    """Late records of one partition and source that were about as late and went the same way."""

    partition: Partition
    source: str
    """Kind and address, as `kafka:readings`."""
    disposition: LateDisposition
    lateness: int
    """They were at least two to the power of this late, in seconds, and less than twice that; 0 begins at no time at all."""
    rows: int
    first_at: datetime
    last_at: datetime


class LateRecords:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, dataset_id: int, *, window: Window, partition: Partition | None = None) -> list[LateCount]:
        """The ledger of a dataset, or of one of its partitions, in order of time."""
        c = late_records.c
        statement = select(late_records).where(c.dataset_id == dataset_id)
        if partition is not None:
            statement = statement.where(c.partition_start == to_micros(partition.start))
        ordered = statement.order_by(c.partition_start, c.source_id, c.disposition, c.lateness)

        def read(connection: Connection) -> list[LateCount]:
            rows = connection.execute(ordered).all()
            named = {one.id: f"{one.kind}:{one.address}" for one in sources.listed(connection, dataset_id)} if rows else {}
            return [_count(row, named[row.source_id], window) for row in rows]

        return self._database.read(read)


def note(connection: Connection, batch: LandingCommit, dataset: Row[Any], *, now: int) -> LandingCommit:
    """Count what is late of a batch, in its transaction and before its segments appear.

    Returns the batch with how late the records of its dead-letter files were.
    """
    if isinstance(batch.progress, ReplaySettlement) and _move_replayed(connection, batch, batch.progress):
        return batch
    landed = _sealed_before(connection, batch)
    refused = [file for file in batch.dead_letter_files if file.late]
    if not landed and not refused:
        return batch
    closed = _closed_until(connection, batch, dataset)
    window = Window(dataset.window)

    def late(start: int) -> int:
        return _lateness(closed - to_micros(window.after(from_micros(start))))

    whose = batch.dataset_id, batch.source_id
    _add(connection, *whose, "corrected", _came({(start, late(start)): rows for start, rows in landed.items()}, now))
    by_name: dict[str, DeadLetterFile] = {}
    for file in refused:
        by_name[file.name] = replace(file, late=tuple(replace(one, lateness=late(to_micros(one.start))) for one in file.late))
        _add(connection, *whose, _OF_KIND[file.kind], _came(_cells(by_name[file.name].late), now))
    return replace(batch, dead_letter_files=tuple(by_name.get(file.name, file) for file in batch.dead_letter_files))


def move(
    connection: Connection,
    dataset_id: int,
    source_id: int,
    parts: Iterable[LateRows],
    *,
    before: LateDisposition,
    after: LateDisposition,
) -> None:
    """Records that had one disposition have another from now on; when they came stays."""
    c, moved = late_records.c, dict[Cell, _Came]()
    for (start, lateness), rows in _cells(parts).items():
        here = (c.dataset_id == dataset_id, c.source_id == source_id, c.partition_start == start, c.lateness == lateness)
        change = late_records.update().where(*here, c.disposition == before).values(rows=c.rows - rows)
        for old in connection.execute(change.returning(c.first_at, c.last_at)):
            moved[start, lateness] = _Came(rows=rows, first=old.first_at, last=old.last_at)
    connection.execute(late_records.delete().where(c.dataset_id == dataset_id, c.disposition == before, c.rows <= 0))
    _add(connection, dataset_id, source_id, after, moved)


def without(parts: Sequence[LateRows], landed: Mapping[datetime, int]) -> tuple[LateRows, ...]:
    """What is left of the records of a dead-letter file when so many of each partition have landed.

    A declaration that reads times otherwise by now may have put them into other partitions; then any others count as landed.
    """
    left = [replace(one, rows=one.rows - min(one.rows, landed.get(one.start, 0))) for one in parts]
    more = sum(landed.values()) - (sum(one.rows for one in parts) - sum(one.rows for one in left))
    kept = []
    for one in left:
        taken = min(one.rows, max(more, 0))
        more -= taken
        if one.rows > taken:
            kept.append(replace(one, rows=one.rows - taken))
    return tuple(kept)


def late_text(parts: Sequence[LateRows]) -> str | None:
    """As the catalog keeps them with their file."""
    return json.dumps([[to_micros(one.start), one.lateness, one.rows] for one in parts]) if parts else None


def parse_late(text: str | None) -> tuple[LateRows, ...]:
    """What `late_text` wrote."""
    return tuple(LateRows(start=from_micros(start), lateness=late, rows=rows) for start, late, rows in json.loads(text or "[]"))


def _move_replayed(connection: Connection, batch: LandingCommit, replayed: ReplaySettlement) -> bool:
    """Late records that land by a replay are corrected from now on; False when the replayed ones are not known to be late."""
    if replayed.kind not in _OF_KIND:
        return False
    c, moved = dead_letter_files.c, Counter[Cell]()
    for ids in chunked(replayed.dead_letter_ids):
        for text in connection.execute(select(c.late).where(c.id.in_(ids))).scalars():
            moved.update(_cells(parse_late(text)))
    if not moved:
        return False
    for file in batch.dead_letter_files:
        moved.subtract(_cells(file.late))
    parts = [LateRows(start=from_micros(start), lateness=late, rows=rows) for (start, late), rows in moved.items() if rows > 0]
    before = _OF_KIND[replayed.kind]
    move(connection, batch.dataset_id, batch.source_id, parts, before=before, after="corrected")
    return True


_SEALED = select(partitions.c.start).where(
    partitions.c.dataset_id == bindparam("of_dataset"),
    partitions.c.start.in_(bindparam("starts", expanding=True)),
    partitions.c.state.in_(_WAS_SEALED),
)


def _sealed_before(connection: Connection, batch: LandingCommit) -> dict[int, int]:
    """Rows that the batch lets appear, by partition start, of those partitions that have been sealed."""
    rows = Counter[int]()
    file = batch.progress if isinstance(batch.progress, FileProgress) else None
    if file is None or file.is_visible:
        for segment in batch.segments:
            rows[to_micros(segment.partition_start)] += segment.rows
    if file is not None and file.retracts:
        s = segments.c
        waiting = select(s.partition_start, cast(func.sum(s.rows), BigInteger)).where(
            s.waiting_for == file.span.source_partition_id, s.added_version.is_(None), s.removed_version.is_(None)
        )
        for start, number in connection.execute(waiting.group_by(s.partition_start)):
            rows[start] += number
    found = dict[int, int]()
    for starts in chunked(sorted(rows)):
        sealed = connection.execute(_SEALED, {"of_dataset": batch.dataset_id, "starts": starts}).scalars()
        found |= {start: rows[start] for start in sealed}
    return found


def _closed_until(connection: Connection, batch: LandingCommit, dataset: Row[Any]) -> int:
    """Up to which time the dataset's partitions have been closed, in microseconds."""
    p, window = partitions.c, Window(dataset.window)
    newest = select(func.max(p.start)).where(p.dataset_id == batch.dataset_id, p.state.in_(_WAS_SEALED))
    start = connection.execute(newest).scalar()
    sealed = [] if start is None else [to_micros(window.after(from_micros(start)))]
    watermark = sources.owner(connection, batch.source_id).watermark
    if watermark is not None:
        allowed = json.loads(dataset.definition)["late"]["allowed"]
        sealed.append(watermark - round(allowed * 1_000_000))
    return max(sealed, default=0)


def _lateness(micros: int) -> int:
    """The power of two of seconds that a time reaches; 0 below two seconds."""
    return max((micros // 1_000_000).bit_length() - 1, 0) if micros > 0 else 0


def _cells(parts: Iterable[LateRows]) -> Counter[Cell]:
    cells = Counter[Cell]()
    for one in parts:
        cells[to_micros(one.start), one.lateness] += one.rows
    return cells


def _came(cells: Mapping[Cell, int], now: int) -> dict[Cell, _Came]:
    return {cell: _Came(rows=rows, first=now, last=now) for cell, rows in cells.items()}


def _add(connection: Connection, dataset_id: int, source_id: int, to: LateDisposition, cells: Mapping[Cell, _Came]) -> None:
    rows = [
        {
            "dataset_id": dataset_id,
            "partition_start": start,
            "source_id": source_id,
            "disposition": to,
            "lateness": lateness,
            "rows": came.rows,
            "first_at": came.first,
            "last_at": came.last,
        }
        for (start, lateness), came in sorted(cells.items(), key=lambda item: item[0])
    ]
    change: dict[str, Change] = {
        "rows": lambda old, new: old.rows + new.rows,
        "first_at": lambda old, new: case((old.first_at < new.first_at, old.first_at), else_=new.first_at),
        "last_at": lambda old, new: case((old.last_at > new.last_at, old.last_at), else_=new.last_at),
    }
    upsert(connection, late_records, rows, keys=[key.name for key in late_records.primary_key], set_=change)


def _count(row: Row[Any], source: str, window: Window) -> LateCount:
    return LateCount(
        partition=Partition(window=window, start=from_micros(row.partition_start)),
        source=source,
        disposition=row.disposition,
        lateness=row.lateness,
        rows=row.rows,
        first_at=from_micros(row.first_at),
        last_at=from_micros(row.last_at),
    )
