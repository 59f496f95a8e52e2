"""Cutting decoded text into records: where each begins and ends, by whole-array arithmetic.

What a record is depends on its own bytes only, never on how the content was split into buffers: a reader that resumes
anywhere at a record's beginning finds the same records again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from timestore_assets.model.position import Position
from timestore_assets.sources.port import BadRecord

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

LINE_FEED, CARRIAGE_RETURN = 10, 13
MAX_RAW_BYTES = 1 << 20
"""Longer refused records are kept as their beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """A record the strict scanner read: its number of fields, and a `text` to parse instead of its own when it needs one."""

    text: bytes | None
    fields: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Consecutive records of a buffer, as indices into it.

    `starts`, `ends`: of each good record's content, without its terminator. `lines`: 1-based first physical line of each.
    `bad`: refused ones, by position. `next`: first byte not consumed; `line`: physical lines before it. `multiline`: some
    record may hold a line end. `rewritten`: by index, records that the strict scanner read.
    `stuck`: the record at `next` is too long and its line does not end in this buffer.
    """

    starts: Offsets
    ends: Offsets
    lines: Offsets
    next: int
    line: int
    bad: Sequence[BadRecord] = ()
    rewritten: Mapping[int, Rewritten] = field(default_factory=dict)
    multiline: bool = False
    stuck: bool = False

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """What to cut: `buffer[start:stop]`. `start` begins a record; `final`: the content ends at `stop`.

    `origin`: decoded offset of `buffer[0]`. `line`: physical lines before `start`.
    """

    buffer: Bytes
    start: int
    stop: int
    origin: int
    line: int
    final: bool

    def refuse(self, code: str, reason: str, start: int, end: int, line: int) -> BadRecord:
        """A bad record of these bytes of the buffer."""
        raw = self.buffer[start : min(end, start + MAX_RAW_BYTES)].tobytes()
        return BadRecord(code=code, reason=reason, raw=raw, position=self.origin + start, line=line)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRows:
    """Original bytes of a batch's rows, without their line ends (see `port.RawRows`)."""

    buffer: memoryview
    starts: Offsets
    ends: Offsets

    def __call__(self, index: int) -> bytes:
        return bytes(self.buffer[int(self.starts[index]) : int(self.ends[index])])


def bad_between(bad: Sequence[BadRecord], start: Position, end: Position) -> Sequence[BadRecord]:
    """Of refused records in order of position those in `[start, end)`."""
    first = bisect_left(bad, start.offset, key=_position)
    return bad[first : bisect_left(bad, end.offset, first, key=_position)]


def _position(bad: BadRecord) -> int:
    return bad.position


Cutter = Callable[[Stretch], Cut]


def too_long(limit: int) -> str:
    """The reason for a record of more than `limit` bytes."""
    return f"the record is longer than {limit} bytes (max_record_bytes)"


def line_feeds(stretch: Stretch) -> Offsets:
    """Indices at which physical lines end; a last line without line feed ends at `stop` when the content does."""
    start, stop = stretch.start, stretch.stop
    found = np.flatnonzero(stretch.buffer[start:stop] == LINE_FEED) + start
    if stretch.final and stop > start and (not found.size or found[-1] != stop - 1):
        found = np.append(found, stop)
    return found


def content_ends(buffer: Bytes, starts: Offsets, ends: Offsets) -> Offsets:
    """`ends` without the carriage return of a `\\r\\n`."""
    if not ends.size:
        return ends
    returns = (buffer[np.maximum(ends - 1, 0)] == CARRIAGE_RETURN) & (ends > starts)
    return ends - returns if returns.any() else ends


def cut_lines(stretch: Stretch, *, limit: int) -> Cut:
    """Records that are physical lines; blank ones are skipped, ones of more than `limit` bytes are refused `too_long`."""
    feeds = line_feeds(stretch)
    starts = np.empty_like(feeds)
    if feeds.size:
        starts[0], starts[1:] = stretch.start, feeds[:-1] + 1
    ends = content_ends(stretch.buffer, starts, feeds)
    next_start = min(int(feeds[-1]) + 1, stretch.stop) if feeds.size else stretch.start
    lengths = ends - starts
    lines = np.arange(stretch.line + 1, stretch.line + 1 + feeds.size, dtype=np.int64)
    bad: list[BadRecord] = []
    if feeds.size and (lengths.max() > limit or lengths.min() == 0):
        bad = [
            stretch.refuse("too_long", too_long(limit), int(starts[i]), int(ends[i]), int(lines[i]))
            for i in np.flatnonzero(lengths > limit)
        ]
        good = (lengths > 0) & (lengths <= limit)
        starts, ends, lines = starts[good], ends[good], lines[good]
    return Cut(
        starts=starts,
        ends=ends,
        lines=lines,
        next=next_start,
        line=stretch.line + int(feeds.size),
        bad=bad,
        stuck=is_stuck(stretch, next_start, limit),
    )


def is_stuck(stretch: Stretch, start: int, limit: int) -> bool:
    """Whether what is left, which has no line end, is too long whatever follows (a terminator takes two bytes)."""
    return not stretch.final and stretch.stop - start >= limit + 2


def merge(cuts: Sequence[Cut]) -> Cut:
    """Cuts that follow one another in the same buffer, as one."""
    if len(cuts) == 1:
        return cuts[0]
    rewritten: dict[int, Rewritten] = {}
    before = 0
    for cut in cuts:
        rewritten.update({before + index: text for index, text in cut.rewritten.items()})
        before += len(cut)
    return Cut(
        starts=np.concatenate([cut.starts for cut in cuts]),
        ends=np.concatenate([cut.ends for cut in cuts]),
        lines=np.concatenate([cut.lines for cut in cuts]),
        next=cuts[-1].next,
        line=cuts[-1].line,
        bad=[bad for cut in cuts for bad in cut.bad],
        rewritten=rewritten,
        multiline=any(cut.multiline for cut in cuts),
        stuck=cuts[-1].stuck,
    )
