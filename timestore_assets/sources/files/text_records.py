"""Cutting decoded text into records: where each begins and ends, by whole-array arithmetic.

What a record is depends on its own bytes only, never on how the content was split into buffers: a reader that resumes
anywhere at a record's beginning finds the same records again.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from timestore_assets.model.position import Position
from timestore_assets.sources.batches import BadRecord

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

LINE_FEED, CARRIAGE_RETURN = 10, 13
_LINE_FEED = re.compile(rb"\n")
MAX_RAW_BYTES = 1 << 20
"""Longer refused records are kept as their beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewritten:
    """A record the strict scanner read: its number of fields, and a `text` to parse instead of its own when it needs one."""

    text: bytes | None
    fields: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Consecutive records of a buffer, as indices into it."""

    #: Of each good record's content; `ends` are without its terminator.
    starts: Offsets
    ends: Offsets
    #: 1-based first physical line of each.
    lines: Offsets
    #: First byte not consumed.
    next: int
    #: Physical lines before it.
    line: int
    #: Refused ones, by position.
    bad: Sequence[BadRecord] = ()
    #: By index, records that the strict scanner read.
    rewritten: Mapping[int, Rewritten] = field(default_factory=dict)
    #: Some record may hold a line end.
    multiline: bool = False
    #: The record at `next` is too long and its line does not end in this buffer.
    stuck: bool = False

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSpan:
    """What to cut: `buffer[start:stop]`."""

    buffer: Bytes
    #: Begins a record.
    start: int
    stop: int
    #: Decoded offset of `buffer[0]`.
    origin: int
    #: Physical lines before `start`.
    line: int
    #: The content ends at `stop`.
    final: bool

    def refuse(self, code: str, reason: str, start: int, end: int, line: int) -> BadRecord:
        """A bad record of these bytes of the buffer."""
        raw = self.buffer[start : min(end, start + MAX_RAW_BYTES)].tobytes()
        return BadRecord(code=code, reason=reason, raw=raw, position=self.origin + start, line=line)


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginalLines:
    """Original bytes of a batch's rows, without their line ends (see `batches.RawRows`)."""

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


Cutter = Callable[[TextSpan], Cut]


def too_long(limit: int) -> str:
    """The reason for a record of more than `limit` bytes."""
    return f"the record is longer than {limit} bytes (max_record_bytes)"


def line_feeds(stretch: TextSpan) -> Offsets:
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


def begins_with(buffer: Bytes, starts: Offsets, mark: bytes) -> npt.NDArray[np.bool_]:
    """Which of these places in a buffer a mark stands at."""
    found = np.ones(starts.size, bool)
    for at, byte in enumerate(mark):
        places = starts + at
        found &= (places < buffer.size) & (buffer[np.minimum(places, buffer.size - 1)] == byte)
    return found


def cut_lines(stretch: TextSpan, *, limit: int, comment: bytes = b"") -> Cut:
    """Records that are physical lines; ones of more than `limit` bytes are refused `too_long`.

    Blank ones and those that begin with `comment` are left out.
    """
    feeds = line_feeds(stretch)
    starts = np.empty_like(feeds)
    if feeds.size:
        starts[0], starts[1:] = stretch.start, feeds[:-1] + 1
    ends = content_ends(stretch.buffer, starts, feeds)
    next_start = min(int(feeds[-1]) + 1, stretch.stop) if feeds.size else stretch.start
    lengths = ends - starts
    lines = np.arange(stretch.line + 1, stretch.line + 1 + feeds.size, dtype=np.int64)
    bad: list[BadRecord] = []
    if comment and feeds.size and (remarks := begins_with(stretch.buffer, starts, comment)).any():
        starts, ends, lines, lengths = starts[~remarks], ends[~remarks], lines[~remarks], lengths[~remarks]
    if starts.size and (lengths.max() > limit or lengths.min() == 0):
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


def is_stuck(stretch: TextSpan, start: int, limit: int) -> bool:
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


def line_end(buffer: memoryview, start: int, stop: int) -> int:
    """Index of the first line feed in `[start, stop)`, or -1."""
    found = _LINE_FEED.search(buffer, start, stop)
    return found.start() if found else -1
