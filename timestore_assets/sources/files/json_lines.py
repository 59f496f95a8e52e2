"""JSON lines: one document a line, handed on as its bytes without a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.blocks import Block, blocks, ended
from timestore_assets.sources.files.compression import DecodedStream
from timestore_assets.sources.files.format_detection import BOM
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.text_records import Cut, OriginalLines, TextSpan, bad_between, cut_lines
from timestore_assets.sources.files.wide_text import WideTextStream, open_text

VALUE_COLUMN = "value"
KEY_COLUMN = "idempotency_key"


@dataclass(kw_only=True)
class JsonLinesReader:
    """Reads one file of JSON lines as `json` batches.

    A `value` is the line's bytes with its line end and blank lines behind it, which are white space in JSON; `raw` gives
    the bytes without them. Nothing is parsed here: what is wrong inside a line is found by landing. Blank lines are no
    records. `block_bytes`: about how much text a batch holds; `chunk_rows`: at most so many rows.
    """

    file: InputFile
    source: FileSource
    block_bytes: int
    chunk_rows: int | None = None
    bytes_read: int = field(init=False, default=0)

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`."""
        limit, rows = self.source.max_record_bytes, self.chunk_rows
        with open_text(self.file, self.source.csv.encoding) as stream:
            begin = begin_text(stream, start)
            found = blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=limit, max_records=rows)
            for block in ended(found, until):
                self.bytes_read = stream.stored_bytes_read
                for batch in json_batches(block, rows):
                    yield replace(batch, start=start)
                    start = batch.end

    def records(self) -> Iterator[Block]:
        """The places of all records, in order."""
        with open_text(self.file, self.source.csv.encoding) as stream:
            begin = begin_text(stream, START)
            limit = self.source.max_record_bytes
            yield from blocks(stream, begin, self._cut, block_bytes=self.block_bytes, limit=limit)

    def _cut(self, stretch: TextSpan) -> Cut:
        return cut_lines(stretch, limit=self.source.max_record_bytes)


def begin_text(stream: DecodedStream | WideTextStream, start: Position) -> Position:
    """Go to `start`, or behind a byte order mark when that is the beginning."""
    offset = start.offset or (len(BOM) if stream.peek(len(BOM)) == BOM else 0)
    stream.skip_to(offset)
    return Position(offset=offset, line=start.line)


def json_batches(block: Block, chunk_rows: int | None) -> Iterator[FileBatch]:
    """The records of a block as batches of at most so many; positions are the bytes at which they begin."""
    cut, start, first = block.cut, block.start, 0
    while True:
        until = min(first + (chunk_rows or len(cut)), len(cut))
        end = block.position(until)
        yield FileBatch(
            start=start,
            end=end,
            last=block.last and until == len(cut),
            encoding="json",
            records=pa.Table.from_arrays([line_values(block, first, until)], names=[VALUE_COLUMN]),
            positions=pa.array(cut.starts[first:until] + block.origin),
            lines=pa.array(cut.lines[first:until]),
            bad=tuple(bad_between(cut.bad, start, end)),
            raw=OriginalLines(buffer=block.buffer.data, starts=cut.starts[first:until], ends=cut.ends[first:until]),
        )
        if until == len(cut):
            return
        first, start = until, end


def line_values(block: Block, first: int, until: int) -> pa.ChunkedArray[Any]:
    """A binary array over the block's own bytes: each value reaches to the next one's beginning."""
    cut, chunks = block.cut, []
    refused = np.array([bad.position - block.origin for bad in cut.bad], dtype=np.int64)
    borders = np.unique(np.searchsorted(cut.starts, refused))
    data = pa.py_buffer(block.buffer.data) if block.buffer.size else None
    edges = [first, *(int(at) for at in borders if first < at < until), until]
    for begin, end in pairwise(edges):
        if begin == end:
            continue
        offsets = np.empty(end - begin + 1, np.int32)
        offsets[:-1], offsets[-1] = cut.starts[begin:end], cut.ends[end - 1]
        chunks.append(pa.Array.from_buffers(pa.binary(), end - begin, [None, pa.py_buffer(offsets.data), data]))
    return pa.chunked_array(chunks, type=pa.binary())
