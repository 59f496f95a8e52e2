"""Bytes in memory as the stream that the readers of text files cut."""

from __future__ import annotations


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
