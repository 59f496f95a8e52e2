"""The loop every text format shares: fill a buffer, cut it into records, hand on blocks that a position can be given for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from timestore_assets.model.position import Position
from timestore_assets.sources.batches import BadRecord
from timestore_assets.sources.files.compression import ByteStream
from timestore_assets.sources.files.text_records import MAX_RAW_BYTES, Bytes, Cut, Cutter, TextSpan, line_end, merge, too_long

_PIECE_BYTES = 4 << 20
"""Cut at a time: the arrays of a piece stay in the processor's cache and are small beside the buffer."""
_MAX_RECORDS = 1_000_000
"""Records of a block, so that a file of one-byte lines can't fill the memory with their offsets."""
_MAX_BAD = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Records cut from one buffer."""

    buffer: Bytes
    #: Decoded offset of `buffer[0]`.
    origin: int
    cut: Cut
    start: Position
    end: Position
    #: The content ends at `end`.
    last: bool

    def position(self, index: int) -> Position:
        """Where record `index` begins, as a position to resume at; the block's end behind the last one."""
        if index >= len(self.cut):
            return self.end
        return Position(offset=self.origin + int(self.cut.starts[index]), line=int(self.cut.lines[index]) - 1)


class BufferedStream:
    """A buffer over the stream. Each fill makes a new one, since blocks refer to the old without copying."""

    def __init__(self, stream: ByteStream, capacity: int) -> None:
        self._stream, self._capacity = stream, capacity
        self.at, self._carry = 0, np.empty(0, np.uint8)
        self.origin = stream.offset
        self.buffer = self._carry
        self.final = False
        self.refill()

    @property
    def done(self) -> bool:
        return self.final and self.at >= self.buffer.size

    def refill(self) -> None:
        """Move what is not consumed to the beginning of a new buffer and read on behind it."""
        carry = self.buffer[self.at :]
        self.origin += self.at
        buffer = np.empty(self._capacity, np.uint8)
        buffer[: carry.size] = carry
        filled = carry.size + self._stream.fill(buffer.data[carry.size :])
        self.buffer, self.at = buffer[:filled], 0
        self.final = filled < self._capacity or self._stream.at_end()

    def skip_line(self) -> tuple[bytes, int]:
        """Consume everything up to and including the next line feed, in constant memory: the line's beginning, and one line."""
        line = b""
        while True:
            end = line_end(self.buffer.data, self.at, self.buffer.size)
            until = self.buffer.size if end < 0 else end
            # one byte more than is kept tells whether the line is complete
            line += self.buffer[self.at : min(until, self.at + MAX_RAW_BYTES + 1 - len(line))].tobytes()
            self.at = until if end < 0 else end + 1
            if end >= 0 or self.final:
                return (line.removesuffix(b"\r") if len(line) <= MAX_RAW_BYTES else line)[:MAX_RAW_BYTES], 1
            self.refill()


Skip = Callable[[BufferedStream], tuple[bytes, int]]
"""Passes a record that is too long: its beginning, and how many physical lines it takes."""


def blocks(
    stream: ByteStream,
    start: Position,
    cutter: Cutter,
    *,
    block_bytes: int,
    limit: int,
    max_records: int | None = None,
    skip: Skip = BufferedStream.skip_line,
) -> Iterator[Block]:
    """Cut everything from the stream's offset on into blocks; at least one comes, and the final one is `last`.

    Args:
        stream: stands at the first record; may be past `start`, which is then the first block's start all the same.
        start: where the reader was asked to begin.
        cutter: finds the records of a stretch.
        block_bytes: about how much text a block holds.
        limit: longest record in bytes; longer ones are refused `too_long`.
        max_records: at most about so many records a block.
        skip: how a record that is too long for the buffer is passed over.
    """
    # room for the longest record and some more, or nothing would ever be complete
    window = BufferedStream(stream, max(block_bytes, 2 * limit + 16))
    piece, enough = max(_PIECE_BYTES, 2 * limit + 16), min(max_records or _MAX_RECORDS, _MAX_RECORDS)
    line, begin = start.line, start
    cuts: list[Cut] = []
    while True:
        buffer, origin, at = window.buffer, window.origin, window.at
        cut = cutter(_piece(window, piece, line))
        window.at, line = cut.next, cut.line
        whole = cut.stuck or cut.next <= at or cut.next >= buffer.size
        if cut.stuck:
            raw, lines = skip(window)
            cut = _with_long_record(cut, raw, origin + cut.next, line + 1, limit)
            line += lines
        cuts.append(cut)
        if not (whole or _enough(cuts, enough)):
            continue
        merged, end = merge(cuts), Position(offset=window.origin + window.at, line=line)
        if len(merged) or merged.bad or window.done:
            yield Block(buffer=buffer, origin=origin, cut=merged, start=begin, end=end, last=window.done)
            begin = end
        if window.done:
            return
        cuts = []
        if whole and not cut.stuck:
            window.refill()


def _piece(window: BufferedStream, size: int, line: int) -> TextSpan:
    """The next stretch of the buffer to cut."""
    stop = min(window.at + size, window.buffer.size)
    final = window.final and stop == window.buffer.size
    return TextSpan(buffer=window.buffer, start=window.at, stop=stop, origin=window.origin, line=line, final=final)


def ended(found: Iterator[Block], until: Position | None) -> Iterator[Block]:
    """The blocks up to a place where a record begins, the last one cut off there; all of them when it is None."""
    for block in found:
        if until is None or block.end.offset < until.offset:
            yield block
        else:
            yield _until(block, until)
            return


def _until(block: Block, until: Position) -> Block:
    """The records of a block before a place where one begins."""
    cut, at = block.cut, until.offset - block.origin
    count = int(cut.starts.searchsorted(at))
    kept = replace(
        cut,
        starts=cut.starts[:count],
        ends=cut.ends[:count],
        lines=cut.lines[:count],
        next=at,
        line=until.line,
        bad=[bad for bad in cut.bad if bad.position < until.offset],
        rewritten={index: text for index, text in cut.rewritten.items() if index < count},
        stuck=False,
    )
    return replace(block, cut=kept, end=until, last=True)


def _enough(cuts: list[Cut], records: int) -> bool:
    return sum(map(len, cuts)) >= records or sum(len(cut.bad) for cut in cuts) >= _MAX_BAD


def _with_long_record(cut: Cut, raw: bytes, position: int, line: int, limit: int) -> Cut:
    refused = BadRecord(code="too_long", reason=too_long(limit), raw=raw, position=position, line=line)
    return replace(cut, bad=[*cut.bad, refused])
