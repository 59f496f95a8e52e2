"""What reads files of columns that come as one table after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from timestore_assets.model.errors import BadFileError, TimestoreError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.csv.csv_header import check_names
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.parquet.parquet_rows import typed_batch
from timestore_assets.sources.files.parquet.parquet_types import resolved, resolved_type


class Tables(Protocol):
    """A file's tables. What its library raises for a damaged file is told by the reader."""

    @property
    def kind(self) -> str:
        """What the file is, for messages."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    @property
    def share_read(self) -> float:
        """How much of it has been read, from 0 to 1."""

    def __call__(self) -> Iterator[pa.Table]:
        """All of them from the beginning, in order."""


@dataclass(kw_only=True)
class ColumnarReader:
    """Reads one file of columns as `typed` batches; a position is the index of a row.

    Raises:
        BadFileError: it is damaged, has no columns, or names that can't be told apart; `too_large` for a part of it,
            which is only read whole, that takes more than `whole_bytes`.
    """

    file: InputFile
    tables: Tables
    #: About how much Arrow data a batch holds.
    memory_bytes: int
    whole_bytes: int | None = None
    #: At most so many rows.
    chunk_rows: int | None = None
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        try:
            schema = self.tables.schema
            names = tuple(schema.names)  # a name that is no text is found out here
        except (TimestoreError, MemoryError):
            raise
        except Exception as error:  # whatever the library calls it
            raise self._damaged(error) from None
        self.schema = pa.schema([item.with_type(resolved_type(item.type)) for item in schema])
        if not names:
            raise BadFileError("no_columns", f"{self.file.name} has no columns")
        check_names(names, self.file.name)

    @property
    def bytes_read(self) -> int:
        """About how much of the stored file has been read, for progress."""
        return int(self.tables.share_read * self.file.expected_bytes)

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`; such a file is not cut into parts."""
        assert until is None  # noqa: S101 - nobody cuts it
        at, pending = start.offset, None
        for piece in self._pieces(start.offset):
            if pending is not None:
                yield typed_batch(pending, at, last=False)
                at += pending.num_rows
            pending = piece
        yield typed_batch(self.schema.empty_table() if pending is None else pending, at, last=True)

    def _pieces(self, start: int) -> Iterator[pa.Table]:
        """The rows from `start` on, each table within the limits."""
        row = 0
        try:
            for table in self.tables():
                self._check_size(table)
                begin, row = row, row + table.num_rows
                if row > start:
                    yield from self._sliced(resolved(table.replace_schema_metadata(None)).slice(max(start - begin, 0)))
        except (TimestoreError, MemoryError):
            raise
        except Exception as error:  # whatever the library calls it
            raise self._damaged(error) from None
        if row < start:
            raise BadFileError("truncated", f"{self.file.name} has {row} rows, fewer than the {start} already read")

    def _sliced(self, table: pa.Table) -> Iterator[pa.Table]:
        rows = max(1, int(table.num_rows * self.memory_bytes / max(table.nbytes, 1)))
        rows = min(rows, self.chunk_rows or rows)
        for first in range(0, table.num_rows, rows):
            yield table.slice(first, rows)

    def _check_size(self, table: pa.Table) -> None:
        if self.whole_bytes is not None and table.nbytes > self.whole_bytes:
            raise BadFileError(
                "too_large",
                f"{self.file.name} has a part of {table.nbytes:,} bytes that is only read whole: more than the memory takes; "
                "write it in smaller parts, or raise TIMESTORE_MEMORY",
            )

    def _damaged(self, error: Exception) -> BadFileError:
        why = str(error).strip().partition("\n")[0][:200]
        return BadFileError("corrupt", f"{self.file.name} is {self.tables.kind} that is damaged or can't be read: {why}")
