"""Write an answer out while it is computed: JSON, CSV, Parquet, Arrow. None of these needs an output that can seek.

Each format is a generator of bytes, a piece for every batch; `write_…` puts the pieces into an output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, Protocol

import pyarrow as pa

from timestore_assets.model.errors import InputError
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.rendering.text_forms import RowTexts, without_formula

Batches = Iterable[pa.RecordBatch]
_QUOTED_HEADER = re.compile(r'[",\r\n]|^\s|\s$|^$')
_GROUP_ROWS, _GROUP_BYTES = 1_000_000, 64_000_000


class BinaryOutput(Protocol):
    """A binary output: a file, `sys.stdout.buffer`, a socket's file."""

    def write(self, data: bytes, /) -> Any: ...


def write_json(answer: Answer, out: BinaryOutput) -> int:
    """A JSON array of one object a row; see `text_forms` for the values. Returns the number of rows."""
    rows = _Count(answer.batches())
    out.write(b"[")
    _write(json_rows(answer.schema, rows), out)
    out.write(b"\n]\n" if rows.number else b"]\n")
    return rows.number


def write_json_lines(answer: Answer, out: BinaryOutput) -> int:
    """A JSON object a line; see `text_forms` for the values. Returns the number of rows."""
    rows = _Count(answer.batches())
    _write(json_lines(answer.schema, rows), out)
    return rows.number


def write_csv(answer: Answer, out: BinaryOutput, *, safe: bool = False) -> int:
    """CSV (RFC 4180, `\\n` line ends) with a header; see `text_forms` for the values. Returns the number of rows.

    `safe`: for spreadsheets, which compute no text of it.
    """
    rows = _Count(answer.batches())
    _write(csv(answer.schema, rows, safe=safe), out)
    return rows.number


def write_parquet(answer: Answer, out: BinaryOutput) -> int:
    """A Parquet file (zstd); units and descriptions are in the fields' metadata. Returns the number of rows."""
    rows = _Count(answer.batches())
    _write(parquet(answer.schema, rows), out)
    return rows.number


def write_arrow(answer: Answer, out: BinaryOutput, *, stream: bool = False) -> int:
    """Arrow IPC, see `arrow`. Returns the number of rows."""
    rows = _Count(answer.batches())
    _write(arrow(answer.schema, rows, stream=stream), out)
    return rows.number


def json_rows(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """The rows as JSON objects on lines of their own with commas between, as they stand inside an array."""
    separator = "\n"
    with closing(RowTexts(schema, "json")) as text:
        for batch in _filled(batches):
            yield (separator + ",\n".join(text.texts(batch))).encode()
            separator = ",\n"


def json_lines(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """The rows as JSON objects, one a line."""
    with closing(RowTexts(schema, "json")) as text:
        for batch in _filled(batches):
            yield ("\n".join(text.texts(batch)) + "\n").encode()


def csv(schema: pa.Schema, batches: Batches, *, safe: bool = False) -> Iterator[bytes]:
    """A header, then a line for each row (a row's text can hold line breaks). `safe`: no text begins as a formula does."""
    names = [without_formula(name) for name in schema.names] if safe else schema.names
    yield (",".join(_header(name) for name in names) + "\n").encode()
    with closing(RowTexts(schema, "spreadsheet" if safe else "csv")) as text:
        for batch in _filled(batches):
            yield ("\n".join(text.texts(batch)) + "\n").encode()


def parquet(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """A Parquet file, a row group at a time.

    Raises:
        InputError: before the first byte: it has no form for a column's type.
    """
    import pyarrow.parquet as pq

    _require_parquet_types(schema)
    pieces = _Pieces()
    with pa.PythonFile(pieces, mode="w") as sink:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in _grouped(batches):
                writer.write_table(pa.Table.from_batches(group, schema=schema))
                yield pieces.take()
        yield pieces.take()


def _require_parquet_types(schema: pa.Schema) -> None:
    import pyarrow.parquet as pq

    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowException:
            what = f"column {field.name!r} is of Arrow type {field.type}, which Parquet can't hold"
            raise InputError(f"{what}; cast it to VARCHAR or ask for Arrow") from None


def arrow(schema: pa.Schema, batches: Batches, *, stream: bool) -> Iterator[bytes]:
    """Arrow IPC: the file format, or with `stream` the one that can be read while it arrives."""
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    pieces = _Pieces()
    with pa.PythonFile(pieces, mode="w") as sink:
        with make(sink, schema) as writer:
            for batch in _filled(batches):
                writer.write_batch(batch)
                yield pieces.take()
        yield pieces.take()


def _write(pieces: Iterator[bytes], out: BinaryOutput) -> None:
    for piece in pieces:
        out.write(piece)
    if flush := getattr(out, "flush", None):
        flush()


def _filled(batches: Batches) -> Iterator[pa.RecordBatch]:
    return (batch for batch in batches if batch.num_rows)


def _grouped(batches: Batches) -> Iterator[list[pa.RecordBatch]]:
    """Batches by what one Parquet row group should hold."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _filled(batches):
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield waiting
            waiting, rows, size = [], 0, 0
    if waiting:
        yield waiting


def _header(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if _QUOTED_HEADER.search(name) else name


class _Count:
    """Batches that are counted as they go by. `number`: rows so far."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self.number = batches, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.number += batch.num_rows
            yield batch


class _Pieces:
    """A file that gives away what was written to it, and knows how far that was, which Parquet and Arrow ask."""

    closed = False

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._written = 0

    def take(self) -> bytes:
        """What was written since the last time."""
        held, self._held = self._held, []
        return b"".join(held)

    def write(self, data: Any) -> int:
        view = bytes(data)
        self._held.append(view)
        self._written += len(view)
        return len(view)

    def tell(self) -> int:
        return self._written

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing: what is written is held until it is taken."""

    def close(self) -> None:
        """Nothing: what is held can still be taken."""
