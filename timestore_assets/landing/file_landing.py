"""What a file's batches do to the catalog beside adding rows: its state, and what it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import FileChunk, FileRecord, Span
from timestore_assets.landing.batch_landing import Effects, OvertakenError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.port import FileBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A file, or one of the parts it is cut into: what is landed under one checkpoint.

    `number`: 0 for the first or only one. `position`: where it stands. `start`, `end`: of the part; `end` None: with the file.
    `cut_as`: the file's record when it was cut, which is another one when its content was found at a second address.
    """

    file: FileRecord
    number: int
    source_partition_id: int
    position: Position
    start: Position = START
    end: Position | None = None
    cut_as: int | None = None

    @property
    def is_done(self) -> bool:
        return self.end is not None and self.position.offset >= self.end.offset

    @classmethod
    def whole(cls, file: FileRecord) -> Part:
        if file.source_partition_id is None:
            raise ValueError(f"file {file.id} is {file.state}, so it has nothing to be read as")
        return cls(file=file, number=0, source_partition_id=file.source_partition_id, position=file.position)

    @classmethod
    def of(cls, file: FileRecord, chunk: FileChunk) -> Part:
        return cls(
            file=file,
            number=chunk.number,
            source_partition_id=chunk.source_partition_id,
            position=chunk.position,
            start=chunk.start,
            end=chunk.end,
            cut_as=chunk.file_id,
        )


def effects_of(part: Part, batch: FileBatch) -> Effects:
    """The effects of landing a batch of a file. A replacement shows all at once, when its last batch is there."""
    file = part.file
    return Effects(
        spans=(Span(source_partition_id=part.source_partition_id, start=batch.start, end=batch.end),),
        publish=batch.last or not file.replaces,
        retract=file.replaces if batch.last else (),
        file_id=file.id,
        file_state="landed" if batch.last else "landing",
    )


def position_of(catalog: Catalog, part: Part) -> Mapping[int, Position]:
    """Where a part of a file stands, by its source partition.

    Raises:
        OvertakenError: another content stands for the file's address by now.
    """
    found = catalog.file_at(part.file.source_id, part.file.address)
    if found is None or found.id != part.file.id or found.source_partition_id is None:
        raise OvertakenError(f"{part.file.address}: other content has taken its place")
    return catalog.checkpoints([part.source_partition_id])
