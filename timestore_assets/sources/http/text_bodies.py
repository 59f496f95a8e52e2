"""JSON lines and CSV bodies, cut by what cuts files of them: bytes in memory are the stream that it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import Position
from timestore_assets.model.text_encoding import WIDE
from timestore_assets.sources.batches import BadRecord, RawRows, records_digest
from timestore_assets.sources.files.blocks import Block, blocks
from timestore_assets.sources.files.csv.csv_fields import FieldParser
from timestore_assets.sources.files.csv.csv_header import read_header
from timestore_assets.sources.files.csv.csv_records import cut_csv
from timestore_assets.sources.files.format_detection import BOM
from timestore_assets.sources.files.json_lines import VALUE_COLUMN, line_values
from timestore_assets.sources.files.text_records import Cutter, OriginalLines, bad_between, cut_lines
from timestore_assets.sources.http import json_body
from timestore_assets.sources.http.request_body import BodyLimits, JoinedRows, RequestBody, TooManyRowsError


class MemoryStream:
    """Implements `files.compression.ByteStream`."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data, self.offset = memoryview(data), offset

    def fill(self, buffer: memoryview) -> int:
        piece = self._data[self.offset : self.offset + len(buffer)]
        buffer[: len(piece)] = piece
        self.offset += len(piece)
        return len(piece)

    def at_end(self) -> bool:
        return self.offset >= len(self._data)


NAME = "the body"


def lines_body(data: bytes, *, limits: BodyLimits) -> RequestBody:
    """A JSON document a line; what is wrong inside a line is found by landing.

    Raises:
        TooManyRowsError: there are more lines than the limit.
    """
    start, pieces = len(BOM) if data.startswith(BOM) else 0, _BodyPieces(most=limits.rows)
    for block in _blocks(data, start, lambda stretch: cut_lines(stretch, limit=limits.record_bytes), limits):
        index = np.arange(len(block.cut), dtype=np.int64)
        records = pa.Table.from_arrays([line_values(block, 0, len(index))], names=[VALUE_COLUMN])
        pieces.add(block, index, records, block.cut.bad)
    body = pieces.body(schema=pa.schema([(VALUE_COLUMN, pa.binary())]), size=len(data))

    def digest() -> str:
        return records_digest(pieces.raw().many(range(body.records.num_rows)))

    return replace(body, encoding="json", shape=json_body.SHAPE, digest=digest)


def csv_body(data: bytes, *, dialect: CsvDialect, limits: BodyLimits) -> RequestBody:
    """CSV with a header.

    Raises:
        BadFileError: the header is unusable, or the rest no CSV.
        TooManyRowsError: there are more records than the limit.
    """
    stored = data
    if dialect.encoding in WIDE:
        try:
            data = data.decode(dialect.encoding).encode()
        except UnicodeDecodeError:
            raise BadFileError("bad_encoding", f"the body is not valid {dialect.encoding}") from None
    header = read_header(MemoryStream(data), dialect, name=NAME)
    parser = FieldParser(names=header.names, dialect=dialect, header_line=header.line)
    pieces = _BodyPieces(most=limits.rows)
    cut = partial(cut_csv, limit=limits.record_bytes, dialect=dialect)
    for block in _blocks(data, header.end.offset, cut, limits):
        first = 0
        while True:
            kept, records, faults, until = parser.parse_good(block, first, len(block.cut), name=NAME)
            refused = bad_between(block.cut.bad, _at(block, first), block.position(until))
            pieces.add(block, kept, records, (*refused, *faults))
            if until == len(block.cut):
                break
            first = until
    schema = pa.schema([(name, pa.string()) for name in header.names])
    body = pieces.body(schema=schema, size=len(data))

    def digest() -> str:
        return hashlib.sha256(stored).hexdigest()

    return replace(body, shape=("csv", header.names), columns=header.names, digest=digest)


def _blocks(data: bytes, start: int, cutter: Cutter, limits: BodyLimits) -> Iterator[Block]:
    stream = MemoryStream(data, start)
    size = len(data) - start + 1
    yield from blocks(stream, Position(offset=start), cutter, block_bytes=size, limit=limits.record_bytes)


def _at(block: Block, first: int) -> Position:
    return block.position(first) if first else block.start


@dataclass(kw_only=True, slots=True)
class _BodyPieces:
    """Records of a body as its blocks are cut, until their places among each other are known."""

    most: int
    tables: list[pa.Table] = field(default_factory=list)
    offsets: list[npt.NDArray[np.int64]] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    raws: list[RawRows] = field(default_factory=list)
    rows: int = 0

    def add(self, block: Block, index: npt.NDArray[np.int64], records: pa.Table, bad: Sequence[BadRecord]) -> None:
        cut = block.cut
        self.rows += len(index) + len(bad)
        if self.rows > self.most:
            raise TooManyRowsError
        self.tables.append(records)
        self.offsets.append(cut.starts[index] + block.origin)
        self.bad += bad
        self.raws.append(OriginalLines(buffer=block.buffer.data, starts=cut.starts[index], ends=cut.ends[index]))

    def raw(self) -> JoinedRows:
        return JoinedRows([table.num_rows for table in self.tables], self.raws)

    def body(self, *, schema: pa.Schema, size: int) -> RequestBody:
        """All of it; the caller knows encoding, shape and digest better."""
        records = pa.concat_tables(self.tables) if self.tables else schema.empty_table()
        starts = np.concatenate([np.empty(0, np.int64), *self.offsets])
        self.bad.sort(key=lambda record: record.position)
        refused = np.array([record.position for record in self.bad], np.int64)
        places = np.arange(len(starts), dtype=np.int64) + np.searchsorted(refused, starts)
        bad_places = np.arange(len(refused), dtype=np.int64) + np.searchsorted(starts, refused)
        bad = (replace(record, position=int(place)) for record, place in zip(self.bad, bad_places, strict=True))
        return RequestBody(
            encoding="text",
            shape=None,
            records=records,
            raw=self.raw(),
            size=size,
            digest=str,
            places=places if self.bad else None,
            bad=tuple(bad),
        )
