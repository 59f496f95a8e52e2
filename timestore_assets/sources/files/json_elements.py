"""JSON documents: an array of records, at their beginning or at a path, or objects one behind the other over several lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.position import START, Position
from timestore_assets.sources.batches import FileBatch
from timestore_assets.sources.files.blocks import BufferedStream, blocks
from timestore_assets.sources.files.input_file import InputFile
from timestore_assets.sources.files.json_head import JsonHead
from timestore_assets.sources.files.json_lines import begin_text, json_batches
from timestore_assets.sources.files.json_structure import (
    CLOSING,
    COMMA,
    Structure,
    first_filled,
    structure,
    whole_escapes,
    without_blanks,
)
from timestore_assets.sources.files.text_records import (
    LINE_FEED,
    MAX_RAW_BYTES,
    Bytes,
    Cut,
    Offsets,
    TextSpan,
    is_stuck,
    too_long,
)
from timestore_assets.sources.files.wide_text import open_text

_BLANK, _COMMA, _SQUARE = ord(" "), ord(","), ord("]")


@dataclass(kw_only=True)
class JsonElementsReader:
    """Reads one JSON document as `json` batches, a record for each element of its array; making one finds the array.

    A position is the byte at which an element begins. What is wrong inside an element is found by landing; where brackets or
    quotes don't match nobody can tell where the next element begins, so the file is refused then. Without a path a document
    that is no array is read as objects one behind the other. `block_bytes`: about how much text a batch holds; `chunk_rows`: at
    most so many rows.

    Raises:
        BadFileError: there is no array at the source's path; the document is not valid JSON, or cut off.
    """

    file: InputFile
    source: FileSource
    block_bytes: int
    chunk_rows: int | None = None
    bytes_read: int = field(init=False, default=0)
    _begin: Position = field(init=False, repr=False)
    _is_array: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        with open_text(self.file, self.source.csv.encoding) as stream:
            begin = begin_text(stream, START)
            head = JsonHead(stream, begin, self.file.name)
            self._is_array = bool(self.source.path) or head.peek() == "["
            if self._is_array:
                head.enter(self.source.path)
            self._begin = head.position

    def batches(self, start: Position = START, until: Position | None = None) -> Iterator[FileBatch]:
        """See `BatchReader.batches`; such a file is not cut into parts."""
        assert until is None  # noqa: S101 - nobody cuts it
        begin = max(start, self._begin)
        limit, rows = self.source.max_record_bytes, self.chunk_rows
        cutter = _Cutter(name=self.file.name, limit=limit, is_array=self._is_array, whole=not self.source.path)
        with open_text(self.file, self.source.csv.encoding) as stream:
            stream.skip_to(begin.offset)
            found = blocks(
                stream, begin, cutter, block_bytes=self.block_bytes, limit=limit, max_records=rows, skip=cutter.skip_element
            )
            for block in found:
                self.bytes_read = stream.stored_bytes_read
                if cutter.end is not None:
                    block = replace(block, end=cutter.end, last=True)
                for batch in json_batches(block, self.chunk_rows):
                    yield replace(batch, start=start)
                    start = batch.end
                if block.last:
                    return


@dataclass(kw_only=True, slots=True)
class _Cutter:
    """Cuts elements, and remembers where the array ended. `whole`: nothing may follow it."""

    name: str
    limit: int
    is_array: bool
    whole: bool
    end: Position | None = None

    def __call__(self, stretch: TextSpan) -> Cut:
        if self.end is not None:
            return _nothing(stretch)
        buffer, stop = stretch.buffer, whole_escapes(stretch.buffer, stretch.start, stretch.stop)
        found = structure(buffer, stretch.start, stop)
        below = np.flatnonzero(found.depths < 0)
        closing = int(found.places[below[0]]) if below.size else None
        feeds = np.flatnonzero(buffer[stretch.start : stretch.stop] == LINE_FEED) + stretch.start
        if closing is not None and (not self.is_array or buffer[closing] != _SQUARE):
            raise self._bad(stretch, closing, feeds, f"{chr(buffer[closing])} closes nothing")
        edges = self._edges(found, int(below[0]) if below.size else found.places.size)
        starts = np.concatenate([[stretch.start], edges[:-1] + 1]) if edges.size else edges
        if closing is not None:
            starts, edges = np.append(starts, edges[-1] + 1 if edges.size else stretch.start), np.append(edges, closing)
        elif not self.is_array and stretch.final:
            rest = int(edges[-1]) + 1 if edges.size else stretch.start
            starts, edges = np.append(starts, rest), np.append(edges, stretch.stop)
        after = int(edges[-1]) + 1 if edges.size else stretch.start
        ends = edges
        if self.is_array:
            buffer[edges[edges < stretch.stop]] = _BLANK  # white space behind the value that reaches to the next one
        else:
            ends = np.minimum(edges + 1, stretch.stop)  # the bracket is the element's own
            starts = self._behind_commas(buffer, starts, ends)
        if closing is not None:
            line = stretch.line + int(np.searchsorted(feeds, closing))
            self.end = Position(offset=stretch.origin + closing, line=line)
            self._check_behind(stretch, closing + 1, feeds)
        elif self.is_array and stretch.final:
            raise self._bad(
                stretch, stretch.stop, feeds, "it ends before its array does; it was cut off, or brackets don't match"
            )
        after = stretch.stop if self.end is not None else first_filled(buffer, min(after, stretch.stop), stretch.stop)
        return self._cut(stretch, starts, ends, after, feeds)

    def _edges(self, found: Structure, count: int) -> Offsets:
        """Where elements end: the comma behind an array's, the closing bracket of others."""
        wanted = COMMA if self.is_array else CLOSING
        here = (found.kinds[:count] == wanted) & (found.depths[:count] == 0)
        edges: Offsets = found.places[:count][here]
        return edges

    def _behind_commas(self, buffer: Bytes, starts: Offsets, ends: Offsets) -> Offsets:
        """Objects may be written with commas between them."""
        starts, _ = without_blanks(buffer, starts, ends)
        inside = starts < ends
        commas = np.zeros(starts.size, bool)
        commas[inside] = buffer[starts[inside]] == _COMMA
        buffer[starts[commas]] = _BLANK
        return starts + commas

    def _cut(self, stretch: TextSpan, starts: Offsets, ends: Offsets, after: int, feeds: Offsets) -> Cut:
        starts, ends = without_blanks(stretch.buffer, starts, ends)
        filled = starts < ends
        starts, ends = starts[filled], ends[filled]
        lines = stretch.line + 1 + np.searchsorted(feeds, starts)
        good = ends - starts <= self.limit
        bad = [
            stretch.refuse("too_long", too_long(self.limit), int(starts[i]), int(ends[i]), int(lines[i]))
            for i in np.flatnonzero(~good)
        ]
        return Cut(
            starts=starts[good],
            ends=ends[good],
            lines=lines[good],
            next=after,
            line=stretch.line + int(np.searchsorted(feeds, after)),
            bad=bad,
            stuck=self.end is None and is_stuck(stretch, after, self.limit),
        )

    def _check_behind(self, stretch: TextSpan, at: int, feeds: Offsets) -> None:
        """Refuse what can't follow an array, as far as it is at hand: a bracket too many had ended it too early."""
        buffer, stop = stretch.buffer, stretch.buffer.size
        follows = first_filled(buffer, at, stop)
        if follows == stop:
            return
        sign = chr(buffer[follows])
        if self.whole:
            raise self._bad(stretch, follows, feeds, "something follows the array")
        after = first_filled(buffer, follows + 1, stop)
        if sign != "}" and not (sign == "," and (after == stop or chr(buffer[after]) == '"')):
            raise self._bad(stretch, follows, feeds, "no member follows the array")

    def skip_element(self, window: BufferedStream) -> tuple[bytes, int]:
        """Pass an element that is too long and the comma behind it; its beginning, and the lines that it holds."""
        raw, lines, depth, in_string = b"", 0, 0, False
        while True:
            buffer, stop = window.buffer, whole_escapes(window.buffer, window.at, window.buffer.size)
            found = structure(buffer, window.at, stop, depth=depth, in_string=in_string)
            wanted = (found.kinds == COMMA) & (found.depths == 0) if self.is_array else found.depths == 0
            ends = np.flatnonzero(wanted | (found.depths < 0))
            until = stop if not ends.size else int(found.places[ends[0]]) + (not self.is_array)
            piece = buffer[window.at : until]
            raw += piece[: MAX_RAW_BYTES - len(raw)].tobytes()
            lines += int(np.count_nonzero(piece == LINE_FEED))
            # the bracket that ends the array is left for the next cut
            over = bool(ends.size) and self.is_array and buffer[until] == _COMMA
            window.at = until + over
            if ends.size:
                return raw.strip(), lines
            if window.final:
                raise BadFileError("bad_json", f"{self.name} ends within an element; it was cut off, or brackets don't match")
            depth, in_string = found.depth, found.in_string
            window.refill()

    def _bad(self, stretch: TextSpan, at: int, feeds: Offsets, problem: str) -> BadFileError:
        line = stretch.line + 1 + int(np.searchsorted(feeds, at))
        return BadFileError("bad_json", f"{self.name} is not valid JSON near byte {stretch.origin + at}, line {line}: {problem}")


def _nothing(stretch: TextSpan) -> Cut:
    empty = np.empty(0, np.int64)
    return Cut(starts=empty, ends=empty, lines=empty, next=stretch.stop, line=stretch.line)
