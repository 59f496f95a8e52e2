"""Parts of a large file: each is a source partition of its own, so that they land side by side and go on one by one.

The first is the file's own source partition; they are cut once, by whoever holds that one's lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from timestore_assets.catalog import datasets, sources
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import FileChunk
from timestore_assets.catalog.tables import file_chunks, files, source_partitions
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.position import START, Position

c, p = file_chunks.c, source_partitions.c


class Chunks:
    """Each method is one short transaction. A file is named by its own source partition, as every address of it has it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, source_partition_id: int) -> list[FileChunk]:
        """The parts of a file in order; none when it is not cut."""
        return self._database.read(lambda connection: of(connection, source_partition_id))

    def cut(self, file_id: int, ends: Sequence[Position]) -> list[FileChunk]:
        """Cut a file at these positions, the last of which is its end, unless it is cut already; returns its parts.

        Raises:
            ConflictError: its content has been replaced meanwhile.
        """
        return self._database.write(lambda connection: _cut(connection, file_id, ends))


def of(connection: Connection, source_partition_id: int) -> list[FileChunk]:
    """The parts of the file that is read as this source partition, or that this one is a part of."""
    owner = select(c.file_id).where(c.source_partition_id == source_partition_id).scalar_subquery()
    joined = select(file_chunks, p.position_offset, p.position_line).join(source_partitions, p.id == c.source_partition_id)
    return [
        FileChunk(
            file_id=row.file_id,
            number=row.number,
            source_partition_id=row.source_partition_id,
            start=Position(offset=row.start_offset, line=row.start_line),
            end=Position(offset=row.end_offset, line=row.end_line),
            position=Position(offset=row.position_offset, line=row.position_line),
        )
        for row in connection.execute(joined.where(c.file_id == owner).order_by(c.number))
    ]


def with_parts(connection: Connection, source_partition_ids: Iterable[int]) -> set[int]:
    """These source partitions, and those of all other parts of the files they are."""
    found = set(source_partition_ids)
    for ids in chunked(sorted(found)):
        cut = select(c.file_id).where(c.source_partition_id.in_(ids))
        found.update(connection.execute(select(c.source_partition_id).where(c.file_id.in_(cut))).scalars())
    return found


def _cut(connection: Connection, file_id: int, ends: Sequence[Position]) -> list[FileChunk]:
    file = connection.execute(select(files).where(files.c.id == file_id)).one()
    datasets.lock(connection, file.dataset_id)
    own = connection.execute(select(source_partitions).where(p.id == file.source_partition_id)).one()
    if own.retracted_version is not None:
        raise ConflictError(f"{file.address}: other content has taken its place")
    known = of(connection, own.id)
    if known:
        return known
    start, rows = START, []
    for number, end in enumerate(ends):
        partition_id = own.id if number == 0 else _part(connection, own.source_id, f"{own.name}#{number}", start)
        bounds = {"start_offset": start.offset, "start_line": start.line, "end_offset": end.offset, "end_line": end.line}
        rows.append({"file_id": file_id, "number": number, "source_partition_id": partition_id, **bounds})
        start = end
    connection.execute(file_chunks.insert(), rows)
    return of(connection, own.id)


def _part(connection: Connection, source_id: int, name: str, start: Position) -> int:
    """A new source partition that is read from `start` on."""
    part = sources.ensure_partition(connection, source_id, name)
    connection.execute(
        source_partitions.update().where(p.id == part.id).values(position_offset=start.offset, position_line=start.line)
    )
    return part.id
