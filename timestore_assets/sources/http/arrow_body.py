"""Arrow IPC streams: read when their size is known, checked to the last offset, without the encodings that can hide bulk.

How large a message becomes once its buffers are decompressed is taken from its metadata: Arrow reserves that much before it
looks at the data, so a small message could ask for any amount of memory. The layout of the metadata (FlatBuffers) is that of
`Message.fbs` in Apache Arrow's format specification.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.arrow_offsets import check_offsets
from timestore_assets.sources.files.csv.csv_header import check_names
from timestore_assets.sources.files.parquet.parquet_rows import TypedRows, without_invalid_text
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody, TooManyBytesError, TooManyRowsError

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_STORED_AS_IS = -1
_BUFFER_BYTES = 16


def decompressed_size(metadata: memoryview, body: memoryview | None) -> int:
    """Bytes of a message's buffers, decompressed.

    Raises:
        ValueError: the metadata is malformed.
    """
    try:
        message = _Table.root(metadata)
        header = message.child(2)
        if header is None or body is None:
            return 0
        kind = message.byte(1)
        batch = header.child(1) if kind == _DICTIONARY_BATCH else header if kind == _RECORD_BATCH else None
        if batch is None or batch.child(3) is None:
            return len(body)
        return sum(_size(body, offset, length) for offset, length in batch.pairs(2))
    except (struct.error, IndexError):
        raise ValueError("the metadata of a message points outside it") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFacts:
    """What a message says of itself. `size`: bytes of its buffers, decompressed. `rows`: of a batch."""

    is_batch: bool
    size: int
    rows: int


def message_facts(metadata: memoryview, body: memoryview) -> MessageFacts:
    """ValueError when the metadata is malformed."""
    size = decompressed_size(metadata, body)
    try:
        message = _Table.root(metadata)
        header = message.child(2)
        if message.byte(1) != _RECORD_BATCH or header is None:
            return MessageFacts(is_batch=False, size=size, rows=0)
        return MessageFacts(is_batch=True, size=size, rows=max(0, header.long(0)))
    except (struct.error, IndexError):
        raise ValueError("the metadata of a message points outside it") from None


def _size(body: memoryview, offset: int, length: int) -> int:
    if length < 8:
        return max(0, length)
    (size,) = struct.unpack_from("<q", body, offset)
    return length if size == _STORED_AS_IS else max(0, int(size))


@dataclass(frozen=True, slots=True)
class _Table:
    """A FlatBuffers table at a place of the data."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def child(self, slot: int) -> _Table | None:
        place = self._place(slot)
        return None if place is None else _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def byte(self, slot: int) -> int:
        place = self._place(slot)
        return 0 if place is None else int(self.data[place])

    def long(self, slot: int) -> int:
        place = self._place(slot)
        return 0 if place is None else int(struct.unpack_from("<q", self.data, place)[0])

    def pairs(self, slot: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two 64-bit integers."""
        vector = self.child(slot)
        if vector is None:
            return
        (count,) = struct.unpack_from("<I", self.data, vector.at)
        for number in range(count):
            offset, length = struct.unpack_from("<qq", self.data, vector.at + 4 + number * _BUFFER_BYTES)
            if offset < 0:
                raise IndexError(offset)
            yield offset, length

    def _place(self, slot: int) -> int | None:
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if vtable < 0:
            raise IndexError(vtable)
        (size,) = struct.unpack_from("<H", self.data, vtable)
        where = 4 + 2 * slot
        offset = struct.unpack_from("<H", self.data, vtable + where)[0] if where < size else 0
        return self.at + offset if offset else None


_CODE = "bad_arrow"
_WIDEST_BYTES = 32
"""Of a value of fixed width, about."""


def arrow_body(data: bytes, *, limits: BodyLimits) -> RequestBody:
    """The rows of an Arrow IPC stream, columns as its schema says, dictionaries resolved.

    Raises:
        BadFileError: `bad_arrow` when it is damaged or of types that are not taken; its column names can't be told apart.
        TooManyBytesError, TooManyRowsError: it is larger than the limits once decoded.
    """
    _check_size(data, limits)
    try:
        table = _read(data, limits)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise BadFileError(_CODE, "the body is not a valid Arrow IPC stream: it is damaged or cut off") from None
    names = tuple(table.column_names)
    if not names:
        raise BadFileError("no_columns", "the body has no columns")
    check_names(names, "the body")
    good, left_out, bad = without_invalid_text(table, 0)
    return RequestBody(
        encoding="typed",
        shape=("arrow", table.schema),
        records=good,
        raw=TypedRows(table=good),
        size=max(len(data), table.nbytes),
        digest=lambda: hashlib.sha256(data).hexdigest(),
        places=np.delete(np.arange(table.num_rows, dtype=np.int64), left_out) if left_out else None,
        bad=tuple(bad),
        columns=names,
    )


def _check_size(data: bytes, limits: BodyLimits) -> None:
    """Refuse a stream that says it becomes too large, before anything of it is decompressed."""
    size = 0
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(data)):
            body = None if message.body is None else memoryview(message.body)
            size += decompressed_size(memoryview(message.metadata), body)
            if size > limits.bytes:
                raise TooManyBytesError
    except (pa.ArrowException, OSError, ValueError):
        raise BadFileError(_CODE, "the body is not a valid Arrow IPC stream: it is damaged or cut off") from None


def _read(data: bytes, limits: BodyLimits) -> pa.Table:
    batches, rows = [], 0
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        _check_types(stream.schema)
        for batch in stream:
            rows += batch.num_rows
            if rows > limits.rows:
                raise TooManyRowsError
            for column in batch.columns:
                check_offsets(column)
            batches.append(batch)
        table = pa.Table.from_batches(batches, stream.schema.remove_metadata())
    return _resolved(table, limits)


def _check_types(schema: pa.Schema) -> None:
    for field in schema:
        kind = field.type.value_type if pt.is_dictionary(field.type) else field.type
        if not _is_taken(kind) or (pt.is_dictionary(field.type) and _is_view(kind)):
            reason = f"column {field.name[:60]!r} is of Arrow type {field.type}, which is not taken; cast it to a plain type"
            raise BadFileError(_CODE, reason)


def _is_taken(kind: pa.DataType) -> bool:
    """Types whose values take no more memory than their buffers."""
    if pt.is_struct(kind):
        return all(_is_taken(field.type) for field in kind)
    if pt.is_fixed_size_list(kind) and not kind.list_size:
        return False  # Arrow divides by its size
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _is_taken(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) or pt.is_interval(kind):
        return False
    return bool(pt.is_primitive(kind) or pt.is_null(kind) or pt.is_decimal(kind) or _is_bytes(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    plain = pt.is_string(kind) or pt.is_binary(kind) or pt.is_large_string(kind) or pt.is_large_binary(kind)
    return bool(plain or _is_view(kind) or pt.is_fixed_size_binary(kind))


def _is_view(kind: pa.DataType) -> bool:
    return bool(pt.is_string_view(kind) or pt.is_binary_view(kind))


def _resolved(table: pa.Table, limits: BodyLimits) -> pa.Table:
    """The same values, each in bytes of its own: a dictionary or a view may repeat long ones for next to nothing."""
    size = 0
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pt.is_dictionary(field.type) or _is_view(field.type):
            size += _size_alone(column)
        else:
            size += column.nbytes
        if size > limits.bytes:
            raise TooManyBytesError
        if pt.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if _is_view(column.type):
            column = column.cast(pa.large_string() if pt.is_string_view(column.type) else pa.large_binary())
        if column.type != field.type:
            table = table.set_column(place, pa.field(field.name, column.type), column)
    return table


def _size_alone(column: pa.ChunkedArray) -> int:
    """Bytes of the values of a column of a dictionary or of views, each counted as often as it occurs."""
    return sum(_size_of_dictionary(chunk) if pt.is_dictionary(chunk.type) else _size_of_views(chunk) for chunk in column.chunks)


def _size_of_dictionary(chunk: pa.DictionaryArray) -> int:
    values = chunk.dictionary
    if not _is_bytes(values.type):
        return len(chunk) * _WIDEST_BYTES
    return pc.sum(pc.binary_length(values).take(chunk.indices)).as_py() or 0


def _size_of_views(chunk: pa.Array) -> int:
    # a view is 16 bytes, the first four of which are its length
    lengths = np.frombuffer(chunk.buffers()[1], np.int32)[4 * chunk.offset :: 4]
    return int(lengths[: len(chunk)].clip(min=0).sum(dtype=np.int64))
