"""Write an answer out while it is computed: JSON, CSV, Parquet, Arrow. None of these needs an output that can seek."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Protocol

import pyarrow as pa

from timestore_assets.querying.answer import Answer
from timestore_assets.querying.text_forms import TextRows

_QUOTED_HEADER = re.compile(r'[",\r\n]|^\s|\s$|^$')


class Output(Protocol):
    """A binary output: a file, `sys.stdout.buffer`, a socket's file."""

    def write(self, data: bytes, /) -> Any: ...


def write_json(answer: Answer, out: Output) -> int:
    """A JSON array of one object a row; see `text_forms` for the values. Returns the number of rows."""
    rows = 0
    out.write(b"[")
    with closing(TextRows(answer.schema, "json")) as text:
        for batch in _filled(answer):
            separator = ",\n" if rows else "\n"
            out.write((separator + ",\n".join(text.texts(batch))).encode())
            rows += batch.num_rows
    out.write(b"\n]\n" if rows else b"]\n")
    return rows


def write_csv(answer: Answer, out: Output) -> int:
    """CSV (RFC 4180, `\\n` line ends) with a header; see `text_forms` for the values. Returns the number of rows."""
    rows = 0
    out.write((",".join(_header(name) for name in answer.schema.names) + "\n").encode())
    with closing(TextRows(answer.schema, "csv")) as text:
        for batch in _filled(answer):
            out.write(("\n".join(text.texts(batch)) + "\n").encode())
            rows += batch.num_rows
    return rows


def write_parquet(answer: Answer, out: Output) -> int:
    """A Parquet file (zstd); units and descriptions are in the fields' metadata. Returns the number of rows."""
    import pyarrow.parquet as pq

    rows = 0
    with pa.PythonFile(_Counted(out), mode="w") as sink, pq.ParquetWriter(sink, answer.schema, compression="zstd") as writer:
        for batches in _grouped(answer, rows=1_000_000):
            table = pa.Table.from_batches(batches, schema=answer.schema)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def write_arrow(answer: Answer, out: Output, *, stream: bool = False) -> int:
    """Arrow IPC: the file format, or with `stream` the one that can be read while it arrives. Returns the number of rows."""
    rows = 0
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.PythonFile(_Counted(out), mode="w") as sink, make(sink, answer.schema) as writer:
        for batch in _filled(answer):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _filled(answer: Answer) -> Iterator[pa.RecordBatch]:
    return (batch for batch in answer.batches() if batch.num_rows)


def _grouped(answer: Answer, *, rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches by about so many rows: what one Parquet row group should hold."""
    waiting: list[pa.RecordBatch] = []
    for batch in _filled(answer):
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= rows:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _header(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if _QUOTED_HEADER.search(name) else name


class _Counted:
    """An output that knows how far it has been written, which Parquet and Arrow ask and a pipe can't say. It stays open."""

    closed = False

    def __init__(self, out: Output) -> None:
        self._out, self._written = out, 0

    def write(self, data: Any) -> int:
        view = bytes(data)
        self._out.write(view)
        self._written += len(view)
        return len(view)

    def tell(self) -> int:
        return self._written

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        if flush := getattr(self._out, "flush", None):
            flush()

    def close(self) -> None:
        self.flush()
