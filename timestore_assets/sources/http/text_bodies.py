"""JSON lines and CSV bodies, cut by what cuts files of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.position import Position
from timestore_assets.sources.files.blocks import Block, blocks
from timestore_assets.sources.files.csv_fields import FieldParser
from timestore_assets.sources.files.csv_records import cut_csv
from timestore_assets.sources.files.header import read_header
from timestore_assets.sources.files.jsonl import VALUE_COLUMN, line_values
from timestore_assets.sources.files.records import Cutter, TextRows, bad_between, cut_lines
from timestore_assets.sources.files.sniff import BOM
from timestore_assets.sources.http import json_body
from timestore_assets.sources.http.body import Body, Limits, TooManyRowsError
from timestore_assets.sources.http.joined import JoinedRows
from timestore_assets.sources.http.memory_stream import MemoryStream
from timestore_assets.sources.port import BadRecord, RawRows
from timestore_assets.sources.records_digest import records_digest

NAME = "the body"


def lines_body(data: bytes, *, limits: Limits) -> Body:
    """A JSON document a line; what is wrong inside a line is found by landing.

    Raises:
        TooManyRowsError: there are more lines than the limit.
    """
    start, pieces = len(BOM) if data.startswith(BOM) else 0, _Pieces(most=limits.rows)
    for block in _blocks(data, start, lambda stretch: cut_lines(stretch, limit=limits.record_bytes), limits):
        index = np.arange(len(block.cut), dtype=np.int64)
        records = pa.Table.from_arrays([line_values(block, 0, len(index))], names=[VALUE_COLUMN])
        pieces.add(block, index, records, block.cut.bad)
    body = pieces.body(schema=pa.schema([(VALUE_COLUMN, pa.binary())]), size=len(data))
    digest = lambda: records_digest(pieces.raw().many(range(body.records.num_rows)))  # noqa: E731
    return replace(body, encoding="json", shape=json_body.SHAPE, digest=digest)


def csv_body(data: bytes, *, dialect: CsvDialect, limits: Limits) -> Body:
    """CSV with a header.

    Raises:
        BadFileError: the header is unusable, or the rest no CSV.
        TooManyRowsError: there are more records than the limit.
    """
    header = read_header(MemoryStream(data), dialect, name=NAME)
    parser = FieldParser(names=header.names, dialect=dialect)
    pieces = _Pieces(most=limits.rows)
    cut = lambda stretch: cut_csv(stretch, limit=limits.record_bytes, dialect=dialect)  # noqa: E731
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
    digest = lambda: hashlib.sha256(data).hexdigest()  # noqa: E731
    return replace(body, shape=("csv", header.names), columns=header.names, digest=digest)


def _blocks(data: bytes, start: int, cutter: Cutter, limits: Limits) -> Iterator[Block]:
    stream = MemoryStream(data, start)
    size = len(data) - start + 1
    yield from blocks(stream, Position(offset=start), cutter, block_bytes=size, limit=limits.record_bytes)


def _at(block: Block, first: int) -> Position:
    return block.position(first) if first else block.start


@dataclass(kw_only=True, slots=True)
class _Pieces:
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
        self.raws.append(TextRows(buffer=block.buffer.data, starts=cut.starts[index], ends=cut.ends[index]))

    def raw(self) -> JoinedRows:
        return JoinedRows([table.num_rows for table in self.tables], self.raws)

    def body(self, *, schema: pa.Schema, size: int) -> Body:
        """All of it; the caller knows encoding, shape and digest better."""
        records = pa.concat_tables(self.tables) if self.tables else schema.empty_table()
        starts = np.concatenate([np.empty(0, np.int64), *self.offsets])
        self.bad.sort(key=lambda record: record.position)
        refused = np.array([record.position for record in self.bad], np.int64)
        places = np.arange(len(starts), dtype=np.int64) + np.searchsorted(refused, starts)
        bad_places = np.arange(len(refused), dtype=np.int64) + np.searchsorted(starts, refused)
        bad = (replace(record, position=int(place)) for record, place in zip(self.bad, bad_places, strict=True))
        return Body(
            encoding="text",
            shape=None,
            records=records,
            raw=self.raw(),
            size=size,
            digest=str,
            places=places if self.bad else None,
            bad=tuple(bad),
        )
