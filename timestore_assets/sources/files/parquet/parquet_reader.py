"""Parquet files: their own columns, in batches that fit the memory whatever the size of the row groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.csv.csv_header import check_names
from timestore_assets.sources.files.input_file import InputFile, unreadable
from timestore_assets.sources.files.parquet.parquet_rows import typed_batch
from timestore_assets.sources.files.parquet.parquet_types import Int96File, int96_columns, resolved, resolved_type
from timestore_assets.sources.files.parquet.row_groups import RowGroup, decoded_bytes, large_chunks, largest_page, row_groups

_SAMPLE_ROWS = 1024
_MAX_SLICE_ROWS = 1 << 18
_BUFFER_BYTES = 1 << 20
_MAX_TABLE_ROWS = 16_000_000
"""Rows of a batch, for files whose rows take next to no memory."""


@dataclass(kw_only=True)
class ParquetReader:
    """Reads one Parquet file as `typed` batches; a position is the index of a row.

    Raises:
        BadFileError: truncated, encrypted, not Parquet, or with column names that can't be told apart.
    """

    file: InputFile
    #: About how much Arrow data a batch holds, each value in bytes of its own (dictionaries are resolved).
    memory_bytes: int
    #: Most that a page or a row, which are only read whole, may take; None: any.
    whole_bytes: int | None = None
    #: At most so many rows.
    chunk_rows: int | None = None
    schema: pa.Schema = field(init=False)
    bytes_read: int = field(init=False, default=0)
    _groups: tuple[RowGroup, ...] = field(init=False, repr=False)
    _metadata: pq.FileMetaData = field(init=False, repr=False)
    _row_bytes: float = field(init=False, repr=False)
    _int96: tuple[str, ...] = field(init=False, repr=False)
    _sampled: bool = field(init=False, default=False, repr=False)
    _decoded: dict[int, int] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._size = self.file.status().size
        try:
            with self._open() as file:
                self.schema = pa.schema([item.with_type(resolved_type(item.type)) for item in file.schema_arrow])
                self._metadata = file.metadata
                self._groups = row_groups(file.metadata)
                self._int96 = int96_columns(file.schema)
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
            with self._rows() as file:
                for table in self._tables(file, at, total):
                    yield typed_batch(table, at, last=at + table.num_rows == total)
                    at += table.num_rows
                    self.bytes_read = self._size * at // max(self.rows, 1)
        except (pa.ArrowException, OSError) as error:
            raise self._refused(error, opening=False) from None
        if at == start.offset:
            yield typed_batch(self.schema.empty_table(), at, last=True)

    def _open(self, with_dictionaries: list[str] | None = None, *, int96_unit: str = "us") -> pq.ParquetFile:
        # a buffer instead of whole column chunks: a row group may be larger than the memory
        # INT96 times by default are nanoseconds, which wrap round before 1678 and after 2262
        return pq.ParquetFile(
            self.file.for_arrow(),
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
            read_dictionary=with_dictionaries,
            coerce_int96_timestamp_unit=int96_unit,
        )

    @contextmanager
    def _rows(self) -> Iterator[pq.ParquetFile | Int96File]:
        """The file, to read rows from."""
        with self._open() as file:
            if not self._int96:
                yield file
                return
            with self._open(int96_unit="s") as seconds:
                yield Int96File(micros=file, seconds=seconds, columns=self._int96)

    def _tables(self, file: pq.ParquetFile | Int96File, at: int, end: int) -> Iterator[pa.Table]:
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

    def _pieces(self, file: pq.ParquetFile | Int96File, at: int, end: int) -> Iterator[pa.Table]:
        """Whole runs of row groups where they fit, slices of a row group where one does not."""
        index = next((i for i, group in enumerate(self._groups) if at < group.end), len(self._groups))
        while index < len(self._groups) and at < end:
            group = self._groups[index]
            self._sample(file, index)
            if self._expected(index) > self.memory_bytes:
                yield from self._slices(file, index, at - group.start)
                index += 1
            else:
                until = self._fitting(index, end)
                table = resolved(file.read_row_groups(list(range(index, until))).replace_schema_metadata(None))
                self._learn(table)
                yield table.slice(at - group.start)
                index = until
            at = self._groups[index - 1].end

    def _fitting(self, first: int, end: int) -> int:
        """End of the run of row groups from `first` on, up to row `end`, that fits the memory and the rows wanted."""
        until, size, rows = first + 1, self._expected(first), self._groups[first].rows
        while until < len(self._groups) and self._groups[until].start < end and rows < self._row_limit():
            size += self._expected(until)
            rows += self._groups[until].rows
            if size > self.memory_bytes:
                break
            until += 1
        return until

    def _slices(self, file: pq.ParquetFile | Int96File, index: int, skip: int) -> Iterator[pa.Table]:
        """A row group in slices, from its row `skip` on; begun anew with shorter ones when rows turn out to be longer."""
        rows = self._groups[index].rows
        while skip < rows:
            length, done = self._slice_rows(index), 0
            for record_batch in file.iter_batches(length, row_groups=[index]):
                table = resolved(pa.Table.from_batches([record_batch]).replace_schema_metadata(None))
                self._learn(table)
                if done + table.num_rows > skip:
                    yield table.slice(skip - done)
                    skip = done + table.num_rows
                done += table.num_rows
                if self._slice_rows(index) * 4 <= length:
                    break

    def _slice_rows(self, index: int) -> int:
        row_bytes = self._expected(index) / max(self._groups[index].rows, 1)
        return max(1, min(_MAX_SLICE_ROWS, int(self.memory_bytes / 4 / max(row_bytes, 1))))

    def _sample(self, file: pq.ParquetFile | Int96File, index: int) -> None:
        """Measure some rows: the first are often like the others, and what a file says of its size may be too little."""
        if self._sampled or self._groups[index].rows <= _SAMPLE_ROWS:
            return
        rows = min(_SAMPLE_ROWS, self._slice_rows(index))
        first = next(file.iter_batches(rows, row_groups=[index]), None)
        if first is not None:
            self._learn(resolved(pa.Table.from_batches([first])))
        self._sampled = True

    def _learn(self, table: pa.Table) -> None:
        if table.num_rows:
            self._row_bytes = max(self._row_bytes, table.nbytes / table.num_rows)

    def _expected(self, index: int) -> float:
        """Bytes of a row group's values once decoded: no more than that by its dictionaries, about that by what was read."""
        if index not in self._decoded:
            self._decoded[index] = self._bound(index)
        group = self._groups[index]
        return max(group.bytes, self._decoded[index], group.rows * self._row_bytes)

    def _bound(self, index: int) -> int:
        """Most bytes that a row group takes once decoded; BadFileError when a page or a row of it is too large for the memory."""
        if self.whole_bytes is not None:
            self._check_pages(index, self.whole_bytes)
        decoded = decoded_bytes(self._metadata, index, limit=self.memory_bytes, with_dictionaries=self._open)
        a_row = decoded // max(self._groups[index].rows, 1)
        if self.whole_bytes is not None and a_row > self.whole_bytes:
            raise self._too_large(f"rows of up to {a_row:,} bytes once decoded", "split their lists or texts")
        return decoded

    def _check_pages(self, index: int, limit: int) -> None:
        chunks = list(large_chunks(self._metadata, index, limit=limit))
        if not chunks:
            return
        given = self.file.for_arrow()
        with given.open("rb") if isinstance(given, Path) else given as stored:
            for chunk in chunks:
                try:
                    size = largest_page(stored, chunk.start, chunk.end)
                except ValueError as error:
                    raise BadFileError("corrupt", f"{self.file.name} is a Parquet file that is damaged: {error}") from None
                if size > limit:
                    raise self._too_large(f"a page of {size:,} bytes in column {chunk.column!r}", "write it with smaller pages")

    def _too_large(self, what: str, remedy: str) -> BadFileError:
        return BadFileError(
            "too_large", f"{self.file.name} has {what}: more than the memory takes; {remedy}, or raise TIMESTORE_MEMORY"
        )

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


def _fixed_width(schema: pa.Schema) -> int:
    """Bytes of a row's values of fixed width; 4 for the offset of any other."""
    return sum(item.type.bit_width // 8 if pa.types.is_primitive(item.type) else 4 for item in schema)
