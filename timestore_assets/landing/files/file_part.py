"""A file, or a part of a large one, as what is landed under one checkpoint; and one batch of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import FileProgress, IdempotencyKey, Span
from timestore_assets.catalog.records import FileChunk, FileRecord
from timestore_assets.landing.committing.source_batch import OvertakenError
from timestore_assets.landing.preparing.prepare import Prepared
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePart:
    """A file, or one of the parts it is cut into: what is landed under one checkpoint."""

    file: FileRecord
    number: int
    """0 for the first or only one."""
    source_partition_id: int
    position: Position
    """Where it stands."""
    start: Position = START
    """Of the part."""
    end: Position | None = None
    """None: with the file."""
    cut_as: int | None = None
    """The file's record when it was cut, which is another one when its content was found at a second address."""

    @property
    def is_done(self) -> bool:
        return self.end is not None and self.position.offset >= self.end.offset

    @classmethod
    def whole(cls, file: FileRecord) -> FilePart:
        if file.source_partition_id is None:
            raise ValueError(f"file {file.id} is {file.state}, so it has nothing to be read as")
        return cls(file=file, number=0, source_partition_id=file.source_partition_id, position=file.position)

    @classmethod
    def of(cls, file: FileRecord, chunk: FileChunk) -> FilePart:
        return cls(
            file=file,
            number=chunk.number,
            source_partition_id=chunk.source_partition_id,
            position=chunk.position,
            start=chunk.start,
            end=chunk.end,
            cut_as=chunk.file_id,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PartBatch:
    """A batch of a part, see `SourceBatch`. A replacement shows all at once, when its last batch is there."""

    part: FilePart
    batch: FileBatch
    late_before: datetime | None = None
    keys: tuple[IdempotencyKey, ...] = ()
    actor: str | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        batch = self.batch
        return (Span(source_partition_id=self.part.source_partition_id, start=batch.start, end=batch.end),)

    def progress(self, _: Prepared, /) -> FileProgress:
        """The same whatever became of the records."""
        file, (only,) = self.part.file, self.spans
        return FileProgress(span=only, file_id=file.id, last=self.batch.last, replaces=file.replaces)

    def confirm(self) -> None:
        """Where its part stands says all."""


def position_of(catalog: Catalog, part: FilePart) -> Mapping[int, Position]:
    """Where a part of a file stands, by its source partition.

    Raises:
        OvertakenError: another content stands for the file's address by now.
    """
    known = catalog.files.at(part.file.source_id, part.file.address)
    if known is None or known.id != part.file.id or known.source_partition_id is None:
        raise OvertakenError(f"{part.file.address}: other content has taken its place")
    return catalog.sources.checkpoints([part.source_partition_id])
