"""Avro files (object containers), a table for some blocks at a time.

fastavro turns logical types into Python's, which has no times outside the years 1 to 9999: one such value would make the file
unreadable. Its schema is therefore read without them, and numbers become Arrow's times, of which landing refuses the bad ones.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from timestore_assets.sources.files.columnar.avro_types import arrow_schema_of, arrow_values, without_logical_types
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.optional_library import format_library

_TABLE_ROWS = 50_000
_TABLE_BYTES = 16_000_000
"""Of stored blocks; as Python values they take many times as much."""
_HEADER = {
    "type": "record",
    "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}
_SCHEMA = "avro.schema"


@dataclass(kw_only=True)
class AvroTables:
    """Implements `columnar_reader.Tables`."""

    file: InputFile
    kind: str = field(init=False, default="an Avro file")
    share_read: float = field(init=False, default=0.0)

    @property
    def schema(self) -> pa.Schema:
        with closing(self.file.open()) as stored:
            return arrow_schema_of(_schema_in(_header(stored)))

    def __call__(self) -> Iterator[pa.Table]:
        with format_library("avro"):
            from fastavro import block_reader
        size = max(self.file.expected_bytes, 1)
        with closing(self.file.open()) as stored:
            header = _header(stored)
            declared = _schema_in(header)
            schema = arrow_schema_of(declared)
            blocks = block_reader(_with_plain_schema(header, declared, stored), handle_unicode_errors="surrogateescape")
            records: list[dict[str, Any]] = []
            pending = 0
            for block in blocks:
                record: Any
                for record in block:
                    records.append(record)
                    if len(records) >= _TABLE_ROWS:
                        yield _table(records, schema, declared)
                        records = []
                pending += block.size
                if records and pending >= _TABLE_BYTES:
                    yield _table(records, schema, declared)
                    records, pending = [], 0
                self.share_read = min(1.0, stored.tell() / size)
            if records:
                yield _table(records, schema, declared)


def _header(stored: IO[bytes]) -> dict[str, Any]:
    with format_library("avro"):
        from fastavro import schemaless_reader
    header: Any = schemaless_reader(stored, _HEADER, None)
    return dict(header)


def _schema_in(header: dict[str, Any]) -> Any:
    return json.loads(header["meta"][_SCHEMA])


def _with_plain_schema(header: dict[str, Any], declared: Any, rest: IO[bytes]) -> Any:
    from fastavro import schemaless_writer

    plain = json.dumps(without_logical_types(declared)).encode()
    start = io.BytesIO()
    schemaless_writer(start, _HEADER, {**header, "meta": {**header["meta"], _SCHEMA: plain}})
    return _Chained(start.getvalue(), rest)


class _Chained:
    """Some bytes, and what is left of a file behind them, as one stream."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest, self._at = io.BytesIO(start), rest, 0

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase.read`."""
        found = self._start.read(size)
        # a raw file may give less than is asked for
        while (size < 0 or len(found) < size) and (piece := self._rest.read(size - len(found) if size >= 0 else -1)):
            found += piece
        self._at += len(found)
        return found

    def tell(self) -> int:
        """Bytes read so far."""
        return self._at


def _table(records: Sequence[dict[str, Any]], schema: pa.Schema, declared: Any) -> pa.Table:
    kinds = {entry["name"]: entry["type"] for entry in declared["fields"]}
    columns = [arrow_values([record[name] for record in records], schema.field(name).type, kinds[name]) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)
