"""CSV files: every field as text, null where it is empty and unquoted, and the refused records with their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.blocks import Block, blocks, ended
from timestore_assets.sources.files.csv.csv_fields import FieldParser
from timestore_assets.sources.files.csv.csv_header import Header, read_header
from timestore_assets.sources.files.csv.csv_records import cut_csv
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.text_records import Cut, OriginalLines, TextSpan, bad_between
from timestore_assets.sources.files.wide_text import open_text


@dataclass(kw_only=True)
class CsvReader:
    """Reads one CSV file as `text` batches; making one reads and checks the header.

    Raises:
        BadFileError: the header is unusable.
    """

    file: InputFile
    source: FileSource
    #: About how much text a batch holds.
    block_bytes: int
    #: At most so many rows.
    chunk_rows: int | None = None
    header: Header = field(init=False)
    #: Of the stored file.
    bytes_read: int = field(init=False, default=0)
    _parser: FieldParser = field(init=False, repr=False)

    def __post_init__(self) -> None:
        with open_text(self.file, self.source.csv.encoding) as stream:
            self.header = read_header(stream, self.source.csv, name=self.file.name)
        self._parser = FieldParser(names=self.header.names, dialect=self.source.csv, header_line=self.header.line)

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`."""
        begin = max(start, self.header.end)
        limit, rows = self.source.max_record_bytes, self.chunk_rows
        with open_text(self.file, self.source.csv.encoding) as stream:
            stream.skip_to(begin.offset)
            found = blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=limit, max_records=rows)
            for block in ended(found, until):
                self.bytes_read = stream.stored_bytes_read
                for batch in self._batches_of(block):
                    yield replace(batch, start=start)
                    start = batch.end

    def records(self) -> Iterator[Block]:
        """The places of all records, in order."""
        with open_text(self.file, self.source.csv.encoding) as stream:
            begin = self.header.end
            stream.skip_to(begin.offset)
            limit = self.source.max_record_bytes
            yield from blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=limit)

    def _cut(self, stretch: TextSpan) -> Cut:
        return cut_csv(stretch, limit=self.source.max_record_bytes, dialect=self.source.csv)

    def _batches_of(self, block: Block) -> Iterator[FileBatch]:
        cut, start, first = block.cut, block.start, 0
        while True:
            until = min(first + (self.chunk_rows or len(cut)), len(cut))
            kept, table, faults, until = self._parser.parse_good(block, first, until, name=self.file.name)
            end = block.position(until)
            bad = sorted((*bad_between(cut.bad, start, end), *faults), key=lambda record: record.position)
            yield FileBatch(
                start=start,
                end=end,
                last=block.last and until == len(cut),
                encoding="text",
                records=table,
                positions=pa.array(cut.starts[kept] + block.origin),
                lines=pa.array(cut.lines[kept]),
                bad=tuple(bad),
                raw=OriginalLines(buffer=block.buffer.data, starts=cut.starts[kept], ends=cut.ends[kept]),
            )
            if until == len(cut):
                return
            first, start = until, end
