"""Rows in whatever form a program has them, frames of several libraries among them, as request bodies of bounded size."""

from __future__ import annotations

import base64
import datetime
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


LIBRARIES = ("pyarrow", "polars", "pandas")


def is_frame(data: Any) -> bool:
    """Whether it is of one of the libraries and holds rows, or a column, of Arrow data. None of them is imported for that."""
    return _library(data) in LIBRARIES and (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"))


def batches_of(frame: Any) -> Iterator[pa.RecordBatch]:
    """Its rows in order; of a pandas frame's index only those levels that have a name.

    Raises:
        InputError: it is a column, or lazy, or holds times in an index without a name; or there is no pyarrow.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise InputError("frames go as Arrow, and pyarrow is not installed; pip install pyarrow, or give records") from None

    if isinstance(frame, pa.RecordBatch):
        yield frame
    elif isinstance(frame, pa.RecordBatchReader):
        yield from frame
    else:
        yield from _table(frame).to_batches()


def _table(frame: Any) -> pa.Table:
    import pyarrow as pa

    library = _library(frame)
    if isinstance(frame, pa.Table):
        return frame
    if library == "polars" and hasattr(frame, "to_arrow") and hasattr(frame, "columns"):
        return _of_polars(frame)
    if library == "pandas" and hasattr(frame, "columns"):
        _refuse_nameless_times(frame.index)
        named = [level for level in frame.index.names if level is not None]
        flat = frame.reset_index(level=named) if named else frame
        return pa.Table.from_pandas(flat, preserve_index=False).replace_schema_metadata(None)
    kind = f"{library}'s {type(frame).__name__}"
    raise InputError(f"{kind} can't be ingested; collect a lazy frame, and put a column into a table under its name")


def _refuse_nameless_times(index: Any) -> None:
    """A nameless count of rows may go; nameless times are a column that nobody would miss until it is asked for."""
    levels = index.levels if hasattr(index, "levels") else [index]
    for name, level in zip(index.names, levels, strict=True):
        if name is None and level.dtype.kind in "mM":
            raise InputError("the frame's index holds times but has no name; give it one, for instance frame.index.name = 'time'")


def _of_polars(frame: Any) -> pa.Table:
    """With types that every Arrow reader knows."""
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _library(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


ARROW, JSON_LINES = "application/vnd.apache.arrow.stream", "application/x-ndjson"
FRAME_ROWS, RECORD_ROWS = 100_000, 10_000
"""Rows of one body, unless the caller says otherwise."""
BODY_BYTES = 16_000_000
"""Bytes of one body at most, before compression; a longer single row has a body for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRows:
    content: bytes
    media_type: str
    rows: int


def bodies(data: Any, *, rows: int | None = None) -> Iterator[EncodedRows]:
    """The rows as bodies, in order: Arrow streams for frames, JSON lines for records. The same input is always cut the same way.

    `data`: mappings or Arrow, Polars or pandas frames, one, several, or an iterator of them, which is read as it is sent.
    `rows`: of one body at most.

    Raises:
        InputError: the data is of another kind.
    """
    if rows is not None and rows < 1:
        raise InputError(f"chunk_rows is {rows}; it must be at least 1")
    for kind, run in itertools.groupby(_parts(data), key=_kind):
        if kind == "record":
            yield from _record_bodies(run, rows or RECORD_ROWS)
        else:
            batches = itertools.chain.from_iterable(batches_of(frame) for frame in run)
            yield from _frame_bodies(batches, rows or FRAME_ROWS)


def _parts(data: Any) -> Iterable[Any]:
    if isinstance(data, Mapping):
        raise InputError("a single record goes in a list: [record]")
    if is_frame(data):
        return (data,)
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise InputError(f"{type(data).__name__} can't be ingested; give records (dicts) or Arrow, Polars or pandas frames")
    return data


def _kind(part: Any) -> Literal["record", "frame"]:
    if isinstance(part, Mapping):
        return "record"
    if is_frame(part):
        return "frame"
    raise InputError(f"among the rows is a {type(part).__name__}; give records (dicts) or Arrow, Polars or pandas frames")


def _frame_bodies(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[EncodedRows]:
    """Batches of one schema go together until a body is full."""
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in _sliced(batches, rows):
        fits = not held or (
            count + batch.num_rows <= rows and size + batch.nbytes <= BODY_BYTES and held[0].schema.equals(batch.schema)
        )
        if not fits:
            yield _arrow_body(held, count)
            held, count, size = [], 0, 0
        held.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
    if held:
        yield _arrow_body(held, count)


def _sliced(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        fitting = max(1, min(rows, batch.num_rows * BODY_BYTES // max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, fitting):
            yield batch.slice(start, fitting)


def _arrow_body(batches: list[pa.RecordBatch], rows: int) -> EncodedRows:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return EncodedRows(content=sink.getvalue().to_pybytes(), media_type=ARROW, rows=rows)


def _record_bodies(records: Iterable[Mapping[str, Any]], rows: int) -> Iterator[EncodedRows]:
    encode = json.JSONEncoder(default=_record_value, ensure_ascii=False, separators=(",", ":")).encode
    lines: list[bytes] = []
    size = 0
    for record in records:
        # a lone surrogate is no text; the service refuses that one row, with its bytes
        line = encode(record if type(record) is dict else dict(record)).encode("utf-8", "surrogatepass") + b"\n"
        if lines and (len(lines) >= rows or size + len(line) > BODY_BYTES):
            yield EncodedRows(content=b"".join(lines), media_type=JSON_LINES, rows=len(lines))
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield EncodedRows(content=b"".join(lines), media_type=JSON_LINES, rows=len(lines))


def _record_value(value: Any) -> Any:
    """A record's value that JSON has no form for, as the service reads it; bytes that are no text say that they are base64."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        return plain(value)
    content = bytes(value)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def plain(value: Any) -> Any:
    """A question's value that JSON has no form for; bytes are base64, as in answers. A time without a zone is taken for UTC."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    raise InputError(f"a {type(value).__name__} can't be sent as JSON; turn it into text or a number first")
