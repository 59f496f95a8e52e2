"""How large an Arrow IPC message becomes once its buffers are decompressed, by what its metadata says.

Arrow reserves that much before it looks at the data, so a small message could ask for any amount of memory. The layout of the
metadata (FlatBuffers) is that of `Message.fbs` in Apache Arrow's format specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

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
