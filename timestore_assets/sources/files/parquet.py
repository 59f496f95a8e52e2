"""Parquet files: their own columns, in batches that fit the memory whatever the size of the row groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.files.header import check_names
from timestore_assets.sources.files.input_file import InputFile, unreadable
from timestore_assets.sources.files.parquet_rows import TypedRows, without_invalid_text
from timestore_assets.sources.port import FileBatch

_SAMPLE_ROWS = 1024
_MIN_SLICE_ROWS, _MAX_SLICE_ROWS = 256, 1 << 18
_BUFFER_BYTES = 1 << 20
_MAX_TABLE_ROWS = 16_000_000
"""Rows of a batch, for files whose rows take next to no memory."""


@dataclass(kw_only=True)
class ParquetReader:
    """Reads one Parquet file as `typed` batches; a position is the index of a row.

    `memory_bytes`: about how much Arrow data a batch holds; `chunk_rows`: at most so many rows.

    Raises:
        BadFileError: truncated, encrypted, not Parquet, or with column names that can't be told apart.
    """

    file: InputFile
    memory_bytes: int
    chunk_rows: int | None = None
    schema: pa.Schema = field(init=False)
    bytes_read: int = field(init=False, default=0)
    _groups: tuple[_Group, ...] = field(init=False, repr=False)
    _row_bytes: float = field(init=False, repr=False)
    _sampled: bool = field(init=False, default=False, repr=False)

    def __post_init__(self) -> None:
        self._size = self.file.status().size
        try:
            with self._open() as file:
                self.schema = file.schema_arrow.remove_metadata()
                self._groups = _groups(file.metadata)
        except (pa.ArrowException, OSError) as error:
            raise self._refused(error, opening=True) from None
        if not self.schema.names:
            raise BadFileError("no_columns", f"{self.file.name} has no columns")
        check_names(tuple(self.schema.names), self.file.name)
        self._row_bytes = float(_fixed_width(self.schema))

    @property
    def rows(self) -> int:
        return self._groups[-1].end if self._groups else 0

    @property
    def group_ends(self) -> list[tuple[int, int]]:
        """For each row group the row it ends at and its stored bytes."""
        return [(group.end, group.stored) for group in self._groups]

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`; `until` is the end of a row group."""
        total = self.rows if until is None else until.offset
        if start.offset > total:
            raise BadFileError("truncated", f"{self.file.name} has {total} rows, fewer than the {start.offset} already read")
        at = start.offset
        try:
            with self._open() as file:
                for table in self._tables(file, at, total):
                    yield _batch(table, at, last=at + table.num_rows == total)
                    at += table.num_rows
                    self.bytes_read = self._size * at // max(self.rows, 1)
        except (pa.ArrowException, OSError) as error:
            raise self._refused(error, opening=False) from None
        if at == start.offset:
            yield _batch(self.schema.empty_table(), at, last=True)

    def _open(self) -> pq.ParquetFile:
        # a buffer instead of whole column chunks: a row group may be larger than the memory
        return pq.ParquetFile(self.file.for_arrow(), buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)

    def _tables(self, file: pq.ParquetFile, at: int, end: int) -> Iterator[pa.Table]:
        """Everything from row `at` on to row `end`, each table within the limits."""
        pending: list[pa.Table] = []
        rows = size = 0
        for piece in self._pieces(file, at, end):
            while piece.num_rows:
                room = self._row_limit() - rows
                part, piece = piece.slice(0, room), piece.slice(room)
                if pending and size + part.nbytes > self.memory_bytes:
                    yield pa.concat_tables(pending)
                    pending, rows, size = [], 0, 0
                pending.append(part)
                rows, size = rows + part.num_rows, size + part.nbytes
                if rows >= self._row_limit() or size >= self.memory_bytes:
                    yield pa.concat_tables(pending)
                    pending, rows, size = [], 0, 0
        if pending:
            yield pa.concat_tables(pending)

    def _row_limit(self) -> int:
        return min(self.chunk_rows or _MAX_TABLE_ROWS, _MAX_TABLE_ROWS)

    def _pieces(self, file: pq.ParquetFile, at: int, end: int) -> Iterator[pa.Table]:
        """Whole runs of row groups where they fit, slices of a row group where one does not."""
        index = next((i for i, group in enumerate(self._groups) if at < group.end), len(self._groups))
        while index < len(self._groups) and at < end:
            group = self._groups[index]
            self._sample(file, index)
            if self._expected(group) > self.memory_bytes:
                yield from self._slices(file, index, at - group.start)
                index += 1
            else:
                until = self._fitting(index, end)
                table = file.read_row_groups(list(range(index, until))).replace_schema_metadata(None)
                self._learn(table)
                yield table.slice(at - group.start)
                index = until
            at = self._groups[index - 1].end

    def _fitting(self, first: int, end: int) -> int:
        """End of the run of row groups from `first` on, up to row `end`, that fits the memory and the rows wanted."""
        until, size, rows = first + 1, self._expected(self._groups[first]), self._groups[first].rows
        while until < len(self._groups) and self._groups[until].start < end and rows < self._row_limit():
            size += self._expected(self._groups[until])
            rows += self._groups[until].rows
            if size > self.memory_bytes:
                break
            until += 1
        return until

    def _slices(self, file: pq.ParquetFile, index: int, skip: int) -> Iterator[pa.Table]:
        """A row group in slices, from its row `skip` on; begun anew with shorter ones when rows turn out to be longer."""
        rows = self._groups[index].rows
        while skip < rows:
            length, done = self._slice_rows(), 0
            for record_batch in file.iter_batches(length, row_groups=[index]):
                table = pa.Table.from_batches([record_batch]).replace_schema_metadata(None)
                self._learn(table)
                if done + table.num_rows > skip:
                    yield table.slice(skip - done)
                    skip = done + table.num_rows
                done += table.num_rows
                if self._slice_rows() * 4 <= length:
                    break

    def _slice_rows(self) -> int:
        return max(_MIN_SLICE_ROWS, min(_MAX_SLICE_ROWS, int(self.memory_bytes / 4 / max(self._row_bytes, 1))))

    def _sample(self, file: pq.ParquetFile, index: int) -> None:
        """Measure some rows: dictionaries can make a small row group large once it is decoded."""
        if self._sampled or self._groups[index].rows <= _SAMPLE_ROWS:
            return
        first = next(file.iter_batches(_SAMPLE_ROWS, row_groups=[index]), None)
        if first is not None:
            self._learn(pa.Table.from_batches([first]))
        self._sampled = True

    def _learn(self, table: pa.Table) -> None:
        if table.num_rows:
            self._row_bytes = max(self._row_bytes, table.nbytes / table.num_rows)

    def _expected(self, group: _Group) -> float:
        return max(group.bytes, group.rows * self._row_bytes)

    def _refused(self, error: Exception, *, opening: bool) -> BadFileError:
        name, text = self.file.name, str(error).lower()
        if isinstance(error, PermissionError):
            return unreadable(self.file.name, error)
        if "encrypt" in text or "decrypt" in text:
            return BadFileError("encrypted", f"{name} is an encrypted Parquet file; store it without encryption")
        if opening and ("magic bytes" in text or "footer" in text or "smaller than the minimum" in text):
            return BadFileError(
                "truncated", f"{name} is a Parquet file without its end; it was cut off or is still being written"
            )
        return BadFileError("corrupt", f"{name} is a Parquet file that is damaged or uses a feature that is not supported")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """A row group: its rows `[start, end)`, the bytes of its values uncompressed, and `stored` in the file."""

    start: int
    end: int
    bytes: int
    stored: int

    @property
    def rows(self) -> int:
        return self.end - self.start


def _groups(metadata: pq.FileMetaData) -> tuple[_Group, ...]:
    groups, at = [], 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        stored = sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        groups.append(_Group(start=at, end=at + group.num_rows, bytes=group.total_byte_size, stored=stored))
        at += group.num_rows
    return tuple(groups)


def _fixed_width(schema: pa.Schema) -> int:
    """Bytes of a row's values of fixed width; 4 for the offset of any other."""
    return sum(item.type.bit_width // 8 if pa.types.is_primitive(item.type) else 4 for item in schema)


def _batch(table: pa.Table, at: int, *, last: bool) -> FileBatch:
    positions = np.arange(at, at + table.num_rows, dtype=np.int64)
    good, left_out, bad = without_invalid_text(table, at)
    return FileBatch(
        start=Position(offset=at),
        end=Position(offset=at + table.num_rows),
        last=last,
        encoding="typed",
        records=good,
        positions=pa.array(np.delete(positions, left_out) if left_out else positions),
        lines=None,
        bad=tuple(bad),
        raw=TypedRows(table=good),
    )
