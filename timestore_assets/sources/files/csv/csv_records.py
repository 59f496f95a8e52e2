"""Cutting CSV into records by the parity of quotes, with the strict scanner where a quote stands in a wrong place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.sources.batches import BadRecord
from timestore_assets.sources.files.csv.csv_fields import beside
from timestore_assets.sources.files.csv.quoting import Scanned, Trouble, canonical, scan_record
from timestore_assets.sources.files.text_records import (
    CARRIAGE_RETURN,
    LINE_FEED,
    Cut,
    Offsets,
    Rewritten,
    TextSpan,
    begins_with,
    content_ends,
    cut_lines,
    is_stuck,
    line_end,
    line_feeds,
    too_long,
)

MAX_BAD_AT_A_TIME = 50_000
"""Refused records are Python objects; after so many a cut ends, and so does its batch."""

_REASONS = {
    "unclosed_quote": "a quoted field does not end before the line or the record limit does",
    "text_after_quote": "a quoted field is followed by text instead of a delimiter",
}


def cut_csv(stretch: TextSpan, *, limit: int, dialect: CsvDialect) -> Cut:
    """Records of CSV text; `\\r\\n` and `\\n` end them outside quotes, blank lines and comments are left out.

    A record whose quoting is broken, or that does not end within `limit` bytes, is refused as its first physical line
    (`unclosed_quote`, `text_after_quote`, `too_long`), and the next line begins a record again.
    """
    view, comment = stretch.buffer[stretch.start : stretch.stop], (dialect.comment or "").encode()
    quotes = np.flatnonzero(view == ord(dialect.quote)) + stretch.start if dialect.quote else np.empty(0, np.int64)
    returns = _lone_returns(stretch)
    if not quotes.size and not returns.size:
        return cut_lines(stretch, limit=limit, comment=comment)
    return _Cutting.begin(stretch, quotes, returns, limit, dialect).run()


def _lone_returns(stretch: TextSpan) -> Offsets:
    """Carriage returns that are not followed by a line feed (the last byte may yet be)."""
    view = stretch.buffer[stretch.start : stretch.stop]
    returns = np.flatnonzero(view == CARRIAGE_RETURN)
    if returns.size and returns[-1] == view.size - 1:
        returns = returns[:-1]
    lone: Offsets = returns[view[returns + 1] != LINE_FEED] + stretch.start
    return lone


@dataclass(kw_only=True, slots=True)
class _Cutting:
    """One stretch being cut. Pairs are for records that begin after an even or an odd number of quotes."""

    stretch: TextSpan
    limit: int
    dialect: CsvDialect
    quotes: Offsets
    feeds: Offsets
    #: Indices into `feeds` of line ends outside quotes.
    ends: tuple[Offsets, Offsets]
    #: Where the parity rule can't be trusted.
    suspects: tuple[Offsets, Offsets]
    #: Indices into `ends` of records that may be longer than `limit`.
    long: tuple[Offsets, Offsets]
    starts_out: list[Offsets] = field(default_factory=list)
    ends_out: list[Offsets] = field(default_factory=list)
    lines_out: list[Offsets] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    rewritten: dict[int, Rewritten] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def begin(cls, stretch: TextSpan, quotes: Offsets, returns: Offsets, limit: int, dialect: CsvDialect) -> _Cutting:
        feeds = line_feeds(stretch)
        roles = _Roles.of(stretch, quotes, dialect)
        literal = roles.literal(quotes, feeds)
        marks = quotes if literal is None else quotes[~literal]
        outside = marks.searchsorted(feeds) & 1
        ends = (np.flatnonzero(outside == 0), np.flatnonzero(outside == 1))
        suspects = roles.misplaced(quotes) if literal is None else roles.without(literal).misplaced(marks)
        for text, inside in ((returns, 0), (quotes[:0] if literal is None else quotes[literal], 1)):
            # a carriage return is harmless inside quotes, a quote of a literal line outside
            parity = (marks.searchsorted(text) & 1) ^ inside
            suspects = (_sorted(suspects[0], text[parity == 0]), _sorted(suspects[1], text[parity == 1]))
        if dialect.comment:
            remarks = _quoting_comments(stretch, feeds, quotes, dialect.comment.encode())
            suspects = (_sorted(suspects[0], remarks), _sorted(suspects[1], remarks))
        long = tuple(np.flatnonzero(np.diff(feeds[index]) > limit + 1) + 1 for index in ends)
        return cls(
            stretch=stretch,
            limit=limit,
            dialect=dialect,
            quotes=marks,
            feeds=feeds,
            ends=ends,
            suspects=suspects,
            long=(long[0], long[1]),
        )

    def run(self) -> Cut:
        at, stop = self.stretch.start, self.stretch.stop
        stuck = False
        while at < stop and len(self.bad) < MAX_BAD_AT_A_TIME:
            at = self._take_trusted(at)
            if at >= stop:
                break
            step = self._take_one(at)
            if step is None:
                stuck = is_stuck(self.stretch, at, self.limit) and line_end(self.stretch.buffer.data, at, stop) < 0
                break
            at = step
        return self._cut(at, stuck=stuck)

    def _take_trusted(self, at: int) -> int:
        """Take all records from `at` on up to the first that needs a closer look; returns where that one begins."""
        parity = int(self.quotes.searchsorted(at)) & 1
        ends, suspects, long = self.ends[parity], self.suspects[parity], self.long[parity]
        line = int(self.feeds.searchsorted(at))
        first = int(ends.searchsorted(line))
        if first >= ends.size or int(self.feeds[ends[first]]) - at > self.limit:
            return at
        index = int(suspects.searchsorted(at))
        last = int(ends.searchsorted(self.feeds.searchsorted(suspects[index]))) if index < suspects.size else ends.size
        index = int(long.searchsorted(first + 1))
        if index < long.size:
            last = min(last, int(long[index]))
        if first >= last:
            return at
        feeds = self.feeds[ends[first:last]]
        starts = np.empty_like(feeds)
        starts[0], starts[1:] = at, feeds[:-1] + 1
        lines = np.empty_like(feeds)
        lines[0] = line
        lines[1:] = ends[first : last - 1] + 1
        self._add(starts, content_ends(self.stretch.buffer, starts, feeds), lines)
        return int(feeds[-1]) + 1

    def _add(self, starts: Offsets, ends: Offsets, lines: Offsets) -> None:
        filled = ends > starts
        if self.dialect.comment:
            filled &= ~begins_with(self.stretch.buffer, starts, self.dialect.comment.encode())
        if not filled.all():
            starts, ends, lines = starts[filled], ends[filled], lines[filled]
        self.starts_out.append(starts)
        self.ends_out.append(ends)
        self.lines_out.append(lines + self.stretch.line + 1)
        self.count += starts.size

    def _take_one(self, at: int) -> int | None:
        """Take or refuse the record at `at` by the strict rules; None when it needs more bytes."""
        stretch, buffer = self.stretch, self.stretch.buffer.data
        comment = (self.dialect.comment or "").encode()
        if comment and bytes(buffer[at : at + len(comment)]) == comment:
            index = int(self.feeds.searchsorted(at))
            return min(int(self.feeds[index]) + 1, stretch.stop) if index < self.feeds.size else None
        found = scan_record(buffer, at, stretch.stop, final=stretch.final, limit=self.limit, dialect=self.dialect)
        if found is None:
            return None
        if not isinstance(found, Scanned):
            return self._refuse(at, found)
        if found.end > at:
            self.rewritten[self.count] = Rewritten(text=canonical(found.fields, self.dialect), fields=len(found.fields))
            self._add(np.array([at]), np.array([found.end]), self.feeds.searchsorted([at]))
        return found.next

    def _refuse(self, at: int, trouble: Trouble) -> int | None:
        index = int(self.feeds.searchsorted(at))
        if index >= self.feeds.size:
            return None
        feed = int(self.feeds[index])
        end = feed - int(feed > at and self.stretch.buffer[feed - 1] == CARRIAGE_RETURN)
        code, reason = ("too_long", too_long(self.limit)) if end - at > self.limit else (trouble, _REASONS[trouble])
        self.bad.append(self.stretch.refuse(code, reason, at, end, self.stretch.line + index + 1))
        return min(feed + 1, self.stretch.stop)

    def _cut(self, at: int, *, stuck: bool) -> Cut:
        at = min(at, self.stretch.stop)
        empty = [np.empty(0, np.int64)]
        lines = int(self.feeds.searchsorted(at)) if at < self.stretch.stop else self.feeds.size
        return Cut(
            starts=np.concatenate(self.starts_out or empty),
            ends=np.concatenate(self.ends_out or empty),
            lines=np.concatenate(self.lines_out or empty),
            next=at,
            line=self.stretch.line + lines,
            bad=self.bad,
            rewritten=self.rewritten,
            multiline=True,
            stuck=stuck,
        )


def _quoting_comments(stretch: TextSpan, feeds: Offsets, quotes: Offsets, comment: bytes) -> Offsets:
    """Beginnings of lines that look like comments and hold quotes, which then open and close nothing."""
    starts = np.concatenate((np.array([stretch.start], np.int64), feeds + 1))
    starts = starts[starts < stretch.stop]
    starts = starts[begins_with(stretch.buffer, starts, comment)]
    ends = np.append(feeds, stretch.stop)[feeds.searchsorted(starts)]
    found: Offsets = starts[quotes.searchsorted(ends) > quotes.searchsorted(starts)]
    return found


def _sorted(first: Offsets, second: Offsets) -> Offsets:
    return np.sort(np.concatenate((first, second))) if second.size else first


@dataclass(frozen=True, kw_only=True, slots=True)
class _Roles:
    """What each quote can be, by its neighbours: `field`: it begins a field; `opens`, `closes`: may open or close a text."""

    field: npt.NDArray[np.bool_]
    opens: npt.NDArray[np.bool_]
    closes: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, stretch: TextSpan, quotes: Offsets, dialect: CsvDialect) -> _Roles:
        view, delimiter, quote = stretch.buffer, ord(dialect.delimiter), ord(dialect.quote or "\0")
        before = view[np.maximum(quotes - 1, 0)]
        left, right = beside(stretch, quotes, dialect) if dialect.trim else (quotes - 1, quotes + 1)
        outer = view[np.maximum(left, 0)]
        begins = (outer == delimiter) | (outer == LINE_FEED) | (left < stretch.start)
        after = view[np.minimum(right, stretch.stop - 1)]
        adjacent = view[np.minimum(quotes + 1, stretch.stop - 1)] == quote
        closes = (after == delimiter) | (after == LINE_FEED) | adjacent | (right >= stretch.stop)
        returned = np.flatnonzero((after == CARRIAGE_RETURN) & ~closes)
        if returned.size:
            third = right[returned] + 1
            closes[returned] = (third >= stretch.stop) | (view[np.minimum(third, stretch.stop - 1)] == LINE_FEED)
        return cls(field=begins, opens=begins | (before == quote), closes=closes)

    def without(self, left_out: npt.NDArray[np.bool_]) -> _Roles:
        return _Roles(field=self.field[~left_out], opens=self.opens[~left_out], closes=self.closes[~left_out])

    def literal(self, quotes: Offsets, feeds: Offsets) -> npt.NDArray[np.bool_] | None:
        """Which quotes stand in lines where none begins a field and one can be neither opening nor closing (`5" pipe`).

        Outside a quoted text all quotes of such a line are literal. None when there are no such lines.
        """
        strange = ~(self.opens | self.closes)
        if not strange.any():
            return None
        line = feeds.searchsorted(quotes)
        lines = np.zeros(feeds.size + 1, bool)
        lines[line[strange]] = True
        lines[line[self.field]] = False
        found: npt.NDArray[np.bool_] = lines[line]
        return found if found.any() else None

    def misplaced(self, quotes: Offsets) -> tuple[Offsets, Offsets]:
        """Those in a role they can't have, if quote 0, 2, 4, … opens a quoted text, and if 1, 3, 5, … does."""
        even, odd = np.empty(quotes.size, bool), np.empty(quotes.size, bool)
        even[0::2], even[1::2] = ~self.opens[0::2], ~self.closes[1::2]
        odd[0::2], odd[1::2] = ~self.closes[0::2], ~self.opens[1::2]
        return quotes[even], quotes[odd]
