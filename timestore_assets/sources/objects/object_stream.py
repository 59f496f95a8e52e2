"""An object's bytes as a file that can seek: read in blocks, and some blocks ahead of who reads one after the other."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

Fetch = Callable[[int, int], "Buffer"]
"""Gives the bytes `[start, end)`."""

BLOCK_BYTES = 1 << 22
FIRST_BYTES = 1 << 17
"""The first block is smaller: most who open a file look at its beginning and close it again."""
WHOLE_BYTES = 1 << 20
"""Objects up to this size come in one request."""
AHEAD = 3


class ObjectStream(io.RawIOBase):
    """Reads an object of `size` bytes; `kept`: blocks that stay in memory, for those who come back.

    Reads give all they are asked for, up to the end. What `fetch` raises is passed on.
    """

    def __init__(self, fetch: Fetch, size: int, *, kept: int) -> None:
        super().__init__()
        self._fetch, self._size, self._kept = fetch, size, max(kept, AHEAD + 2)
        self._first = size if size <= WHOLE_BYTES else FIRST_BYTES
        self._at = 0
        self._blocks: OrderedDict[int, Future[memoryview]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(22, "negative offset")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        target, done = memoryview(buffer).cast("B"), 0
        for piece in self._pieces(len(target)):
            target[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def read(self, size: int | None = -1, /) -> bytes:
        # what the base class does copies everything twice more, and Arrow reads by this
        return b"".join(self._pieces(self._size if size is None or size < 0 else size))

    def _pieces(self, length: int) -> Iterator[memoryview]:
        """The next bytes, as they lie in the blocks."""
        end = min(self._at + length, self._size)
        while self._at < end:
            number = self._number(self._at)
            begin, _ = self._span(number)
            piece = self._block(number)[self._at - begin : end - begin]
            self._at += len(piece)
            yield piece

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> memoryview:
        if number not in self._blocks:
            block: Future[memoryview] = Future()
            block.set_result(self._read(number))
            self._blocks[number] = block
        self._blocks.move_to_end(number)
        found = self._blocks[number]
        if number and number - 1 in self._blocks:
            self._read_ahead(number)
        while len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)[1].cancel()
        try:
            return found.result()
        except BaseException:
            self._blocks.pop(number, None)
            raise

    def _read_ahead(self, number: int) -> None:
        for following in range(number + 1, number + 1 + AHEAD):
            if following not in self._blocks and self._span(following)[0] < self._size:
                self._pool = self._pool or ThreadPoolExecutor(AHEAD, thread_name_prefix="read-ahead")
                self._blocks[following] = self._pool.submit(self._read, following)

    def _read(self, number: int) -> memoryview:
        begin, end = self._span(number)
        block = memoryview(self._fetch(begin, end)).cast("B")
        if len(block) != end - begin:
            raise OSError(5, f"{len(block)} bytes came instead of {end - begin}")
        return block

    def _number(self, offset: int) -> int:
        return 0 if offset < self._first else offset // BLOCK_BYTES + 1

    def _span(self, number: int) -> tuple[int, int]:
        if number == 0:
            return 0, self._first
        return max(self._first, (number - 1) * BLOCK_BYTES), min(number * BLOCK_BYTES, self._size)
