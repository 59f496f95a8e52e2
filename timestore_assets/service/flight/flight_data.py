"""Arrow as Flight carries it: a `FlightData` is one message of an IPC stream, its metadata and its body side by side.

Batches are cut by bytes, since clients refuse messages that are too long (ADBC: 16 MiB, plain gRPC: 4). What comes in is put
together as a stream again without being decoded, so that whoever judges request bodies judges these too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

from timestore_assets.model.errors import InputError

PIECE_BYTES = 2_000_000
"""Of a batch's buffers; a message becomes little longer."""
LONGEST_ROW_BYTES = 15_000_000
"""What ADBC takes as a message, about."""
_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + bytes(4)
# https://protobuf.dev/programming-guides/encoding: fields 2 and 1000, of bytes
_HEADER, _BODY = b"\x12", b"\xc2\x3e"


def schema_bytes(schema: pa.Schema) -> bytes:
    """A schema as `FlightInfo` and prepared statements have it: an IPC message."""
    found: bytes = schema.serialize().to_pybytes()
    return found


def schema_data(schema: pa.Schema) -> bytes:
    """The first `FlightData` of a stream."""
    return _data(schema.serialize())


def batch_data(batch: pa.RecordBatch) -> Iterator[bytes]:
    """A batch as one `FlightData` or several.

    Raises:
        InputError: a single row is longer than clients take.
    """
    size = batch.nbytes
    if size <= PIECE_BYTES:
        yield _data(batch.serialize())
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from batch_data(batch.slice(0, half))
        yield from batch_data(batch.slice(half))
    elif size > LONGEST_ROW_BYTES:
        raise InputError(f"a row of the answer has {size:,} bytes; Flight clients take {LONGEST_ROW_BYTES:,} at most, HTTP more")
    else:
        yield _data(batch.serialize())


def _data(encapsulated: pa.Buffer) -> bytes:
    """Protobuf by hand: a body of megabytes is copied once."""
    whole = memoryview(encapsulated)
    (length,) = struct.unpack_from("<i", whole, 4)
    header, body = whole[8 : 8 + length], whole[8 + length :]
    return b"".join((_HEADER, _varint(len(header)), header, _BODY, _varint(len(body)), body))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def ipc_message(header: bytes, body: bytes) -> bytes:
    """A message of a stream, from its parts."""
    padding = bytes(-len(header) % 8)
    length = struct.pack("<i", len(header) + len(padding))
    return b"".join((_CONTINUATION, length, header, padding, body, bytes(-len(body) % 8)))


def ipc_stream(messages: list[bytes]) -> bytes:
    """Messages, the first of them a schema, as a stream."""
    return b"".join((*messages, _END))
