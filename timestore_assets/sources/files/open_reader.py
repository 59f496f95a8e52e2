"""From a path to a reader: which format it is, the reader for it, and the check that the file keeps still meanwhile.

Also where a large file is cut into parts that can be read one without the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import CsvDialect, FileFormat, FileSource
from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.model.position import START, Position
from timestore_assets.model.text_encoding import WIDE
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.columnar.arrow_tables import ArrowTables
from timestore_assets.sources.files.columnar.avro_tables import AvroTables
from timestore_assets.sources.files.columnar.columnar_reader import ColumnarReader
from timestore_assets.sources.files.columnar.orc_tables import OrcTables
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.csv.csv_reader import CsvReader
from timestore_assets.sources.files.envelopes import EnvelopesReader
from timestore_assets.sources.files.format_detection import KnownFormat, sniff
from timestore_assets.sources.files.input_file import InputFile, changed
from timestore_assets.sources.files.json_elements import JsonElementsReader
from timestore_assets.sources.files.json_lines import JsonLinesReader
from timestore_assets.sources.files.parquet.parquet_reader import ParquetReader
from timestore_assets.sources.files.spreadsheet import SpreadsheetReader

if TYPE_CHECKING:
    import pyarrow as pa


DEFAULT_MEMORY_BYTES = 192_000_000
"""Arrow data of a batch. Larger batches make fewer delta segments."""
_TEXT_BYTES = (1 << 20, 64 << 20)
"""Least and most text of a batch; parsed, it takes about three times as much."""

Reader = CsvReader | JsonLinesReader | JsonElementsReader | EnvelopesReader | ParquetReader | ColumnarReader | SpreadsheetReader


_TABLES: dict[KnownFormat, type[ArrowTables | OrcTables | AvroTables]] = {
    "arrow": ArrowTables,
    "orc": OrcTables,
    "avro": AvroTables,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReader:
    """Reads one file as batches, and refuses to go on when it changes meanwhile. Implements `batches.BatchReader`.

    `etag`: the file's looks when it was opened. `size`: stored bytes.
    """

    file: InputFile
    format: KnownFormat
    etag: str
    size: int
    reader: Reader

    @property
    def header(self) -> tuple[str, ...] | None:
        """Field names of a CSV file or a spreadsheet, None for other formats."""
        if isinstance(self.reader, SpreadsheetReader):
            return self.reader.names
        return self.reader.header.names if isinstance(self.reader, CsvReader) else None

    @property
    def arrow_schema(self) -> pa.Schema | None:
        """Columns of a file that has typed ones, None for other formats."""
        return self.reader.schema if isinstance(self.reader, ParquetReader | ColumnarReader) else None

    @property
    def bytes_read(self) -> int:
        """How much of the stored file has been read, for progress."""
        return min(self.reader.bytes_read, self.size)

    def stored_bytes(self, start: Position, end: Position) -> int:
        """About how much of the stored file, which is no compressed text, lies between two positions; for progress."""
        reader = self.reader
        if isinstance(reader, ParquetReader):
            return self.size * (end.offset - start.offset) // max(reader.rows, 1)
        return end.offset - start.offset

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """Batches from `start` to the end, or to `until`; at least one comes, and the final one is `last`.

        `until`: one of the places where the file was cut (`cutting`).

        Raises:
            BadFileError: see `batches.BatchReader`; `changed_while_reading` when the file is no longer what was opened.
        """
        self.check_unchanged()
        try:
            for batch in self.reader.batches(start, until):
                self.check_unchanged()
                yield batch
        except Exception:  # whatever the decoder calls it
            self.check_unchanged()  # a file that is being rewritten looks damaged, but is not
            raise

    def check_unchanged(self) -> None:
        """Raise BadFileError `changed_while_reading` unless the file is what was opened."""
        try:
            same = self.file.status().etag == self.etag
        except BadFileError:
            same = False
        if not same:
            raise changed(self.file.name)


def open_reader(
    file: InputFile,
    source: FileSource,
    *,
    format: FileFormat | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    whole_bytes: int | None = None,
    chunk_rows: int | None = None,
    etag: str | None = None,
) -> FileReader:
    """Open a file for reading.

    Args:
        file: plain or compressed.
        source: dialect, format and limits.
        format: overrides the source's.
        memory_bytes: about how much Arrow data a batch may hold.
        whole_bytes: of what can only be read whole (a page or a row of a Parquet file) at most; any when None.
        chunk_rows: at most so many rows (envelopes: lines) a batch.
        etag: what the file looked like when it was identified.

    Raises:
        BadFileError: the file as a whole can't be read; `changed_while_reading` when its etag is another than `etag`.
        InputError: `chunk_rows` or the CSV dialect makes no sense.
    """
    _check(source.csv, chunk_rows)
    status = file.status()
    if etag is not None and status.etag != etag:
        raise changed(file.name)
    known = sniff(file, format or source.format, encoding=source.csv.encoding)
    if known == "parquet":
        reader: Reader = ParquetReader(file=file, memory_bytes=memory_bytes, whole_bytes=whole_bytes, chunk_rows=chunk_rows)
    elif known in _TABLES:
        reader = ColumnarReader(
            file=file,
            tables=_TABLES[known](file=file),
            memory_bytes=memory_bytes,
            whole_bytes=whole_bytes,
            chunk_rows=chunk_rows,
        )
    elif known == "spreadsheet":
        reader = SpreadsheetReader(file=file, source=source, whole_bytes=whole_bytes, chunk_rows=chunk_rows)
    else:
        reader = _text_reader(file, source, known, memory_bytes, chunk_rows)
    opened = FileReader(file=file, format=known, etag=status.etag, size=status.size, reader=reader)
    opened.check_unchanged()
    return opened


def _text_reader(file: InputFile, source: FileSource, known: KnownFormat, memory_bytes: int, chunk_rows: int | None) -> Reader:
    least, most = _TEXT_BYTES
    block_bytes = max(least, min(most, memory_bytes // 4))
    if known == "csv":
        return CsvReader(file=file, source=source, block_bytes=block_bytes, chunk_rows=chunk_rows)
    kinds: dict[str, type[JsonLinesReader | JsonElementsReader | EnvelopesReader]] = {
        "jsonl": JsonLinesReader,
        "json": JsonElementsReader,
        "envelopes": EnvelopesReader,
    }
    return kinds[known](file=file, source=source, block_bytes=block_bytes, chunk_rows=chunk_rows)


def _check(dialect: CsvDialect, chunk_rows: int | None) -> None:
    if chunk_rows is not None and chunk_rows < 1:
        raise InputError(f"chunk rows must be at least 1, not {chunk_rows}")
    for what, text, least in (("delimiter", dialect.delimiter, 1), ("quote", dialect.quote, 0)):
        if not least <= len(text) <= 1 or not text.isascii() or text in ("\r", "\n"):
            raise InputError(f"the CSV {what} must be one ASCII character, not {text!r}")
    if dialect.delimiter == dialect.quote:
        raise InputError(f"the CSV delimiter and quote are both {dialect.quote!r}; they must differ")


def part_ends(opened: FileReader, *, chunk_bytes: int) -> list[Position]:
    """Where parts of about so many stored bytes end, the last one with the file; none when the file stays whole.

    Parquet is cut between row groups, text where a record begins: that is found by cutting all records in order, since a quote
    may change what every line behind it is. Compressed text stays whole, because no part of it could be read alone, and so
    do envelopes, whose keys are looked up in order.

    Raises:
        BadFileError: the file can't be read or changed meanwhile.
    """
    if opened.size <= chunk_bytes:
        return []
    reader = opened.reader
    if isinstance(reader, ParquetReader):
        ends = _ends_of_groups(reader, chunk_bytes)
    elif isinstance(reader, CsvReader | JsonLinesReader) and _is_plain(opened.file, reader.source.csv.encoding):
        ends = _ends_of_records(reader, chunk_bytes)
    else:
        return []
    opened.check_unchanged()
    return ends if len(ends) > 1 else []


def _ends_of_groups(reader: ParquetReader, chunk_bytes: int) -> list[Position]:
    ends: list[Position] = []
    rows = size = 0
    for end, stored in reader.group_ends:
        rows, size = end, size + stored
        if size >= chunk_bytes:
            ends.append(Position(offset=rows))
            size = 0
    if rows and (not ends or ends[-1].offset < rows):
        ends.append(Position(offset=rows))
    return ends


def _ends_of_records(reader: CsvReader | JsonLinesReader, chunk_bytes: int) -> list[Position]:
    ends: list[Position] = []
    begun, last = 0, START
    for block in reader.records():
        starts, last = block.cut.starts + block.origin, block.end
        while (index := int(starts.searchsorted(begun + chunk_bytes))) < len(starts):
            ends.append(block.position(index))
            begun = ends[-1].offset
    return [*ends, last] if last.offset > begun else ends


def _is_plain(file: InputFile, encoding: str) -> bool:
    if encoding in WIDE:
        return False
    with DecodedStream(file) as stream:
        return stream.compression == "plain"
