"""Records of CSV text to columns of text, and which records can't become any.

Blanks around unquoted fields are taken out of the text before it is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from timestore_assets.model.dataset import CsvDialect
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.text_encoding import UTF_8, WIDE
from timestore_assets.sources.batches import BadRecord
from timestore_assets.sources.files.blocks import Block
from timestore_assets.sources.files.text_records import CARRIAGE_RETURN, LINE_FEED, MAX_RAW_BYTES, Bytes, Offsets, TextSpan

_BLANKS = (ord(" "), ord("\t"))


def beside(stretch: TextSpan, places: Offsets, dialect: CsvDialect) -> tuple[Offsets, Offsets]:
    """The nearest places before and after each of these that hold no blank; outside the stretch where there is none."""
    view = stretch.buffer[stretch.start : stretch.stop]
    at, solid = np.arange(view.size), ~_blanks(view, dialect)
    last = np.maximum.accumulate(np.where(solid, at, -1))
    following = np.minimum.accumulate(np.where(solid, at, view.size)[::-1])[::-1]
    local = places - stretch.start
    left = np.where(local > 0, last[np.maximum(local - 1, 0)], -1)
    right = np.where(local + 1 < view.size, following[np.minimum(local + 1, view.size - 1)], view.size)
    return left + stretch.start, right + stretch.start


def without_blanks(text: memoryview | bytes, dialect: CsvDialect) -> memoryview | bytes:
    """The text of whole records without the blanks beside delimiters and line ends outside quotes."""
    view = np.frombuffer(text, np.uint8)
    blank = _blanks(view, dialect)
    if not blank.any():
        return text
    border = (view == ord(dialect.delimiter)) | (view == LINE_FEED) | (view == CARRIAGE_RETURN)
    if dialect.quote and (quotes := view == ord(dialect.quote)).any():
        outside = np.cumsum(quotes) & 1 == 0
        blank &= outside
        border &= outside
    edges = np.flatnonzero(np.diff(blank.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[0::2], edges[1::2]
    left = (starts == 0) | border[np.maximum(starts - 1, 0)]
    right = (ends == view.size) | border[np.minimum(ends, view.size - 1)]
    beside = left | right
    steps = np.zeros(view.size + 1, np.int8)
    steps[starts[beside]] += 1
    steps[ends[beside]] -= 1
    kept: npt.NDArray[np.uint8] = view[np.cumsum(steps[:-1], dtype=np.int8) == 0]
    return kept.data


def _blanks(view: Bytes, dialect: CsvDialect) -> npt.NDArray[np.bool_]:
    found = np.zeros(view.size, bool)
    for byte in _BLANKS:
        if byte != ord(dialect.delimiter):
            found |= view == byte
    return found


MAX_FAULTS = 50_000
"""Refused records are Python objects; after so many a batch ends."""
_PARSE_BYTES = 4 << 20
"""Text that one thread parses at a time."""
_WIDE_COLUMNS = 500
"""From here on text is parsed in one go: columns times chunks would be too many arrays."""
_FEED, _RETURN = memoryview(b"\n"), memoryview(b"\r")
_STEP_BYTES = 8 << 20
_STEP_RECORDS = 32_768
_MOST_BYTES = 4
"""UTF-8 of a byte of another encoding takes at most so many, and twice the longest record must fit a block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldParser:
    """Parses records of a block whose number of fields is that of `names`; one more that is empty is a delimiter at the end."""

    names: tuple[str, ...]
    dialect: CsvDialect
    header_line: int = 1

    def parse(self, block: Block, index: Offsets) -> pa.Table | None:
        """The records of these indices as string columns; None when some don't fit or aren't UTF-8."""
        if not index.size:
            return pa.schema([(name, pa.string()) for name in self.names]).empty_table()
        if _end_in_delimiters(block, index[:1], self.dialect)[0] and self._fields_of_first(block, index) > len(self.names):
            ended = _end_in_delimiters(block, index, self.dialect)
            table = self._parse(block, index, ended) if ended.all() else None
        else:
            table = self._parse(block, index, np.zeros(index.size, bool))
        if table is not None or not (ended := _end_in_delimiters(block, index, self.dialect)).any():
            return table
        counts = _field_counts(block, int(index[0]), int(index[-1]) + 1, self.dialect)[index - index[0]]
        surplus = ended & (counts == len(self.names) + 1)
        return self._parse(block, index, surplus) if surplus.any() else None

    def _fields_of_first(self, block: Block, index: Offsets) -> int:
        return int(_field_counts(block, int(index[0]), int(index[0]) + 1, self.dialect)[0])

    def _parse(self, block: Block, index: Offsets, surplus: npt.NDArray[np.bool_]) -> pa.Table | None:
        """`surplus`: of which records the delimiter at the end is left out."""
        try:
            text = self._text(block, index, surplus)
        except UnicodeDecodeError:
            return None
        longest = _MOST_BYTES * int((block.cut.ends[index] - block.cut.starts[index]).max())
        parallel = len(self.names) < _WIDE_COLUMNS
        read = arrow_csv.ReadOptions(
            column_names=list(self.names),
            block_size=max(_PARSE_BYTES, longest + 4096) if parallel else text.size + 1,
            use_threads=parallel,
        )
        try:
            table = arrow_csv.read_csv(
                cast("Any", pa.BufferReader(text)),
                read_options=read,
                parse_options=self._dialect(block),
                convert_options=self._types(),
            )
        except pa.ArrowInvalid:
            return None
        return table if table.num_rows == index.size else None

    def _text(self, block: Block, index: Offsets, surplus: npt.NDArray[np.bool_]) -> pa.Buffer:
        dialect = self.dialect
        plain = not (surplus.any() or dialect.comment)
        text = _text_of(block, index) if plain else _text_without(block, index, surplus)
        if dialect.trim:
            text = without_blanks(text, dialect)
        if dialect.encoding not in (UTF_8, *WIDE):
            text = str(text, dialect.encoding).encode()
        return pa.py_buffer(text)

    def parse_good(self, block: Block, first: int, until: int, *, name: str) -> tuple[Offsets, pa.Table, list[BadRecord], int]:
        """Records `first` to `until` of a block: indices of the good ones, their fields, the others, and where it ended.

        Raises:
            BadFileError: `not_parsed`, what is called `name` is beyond repair.
        """
        index = np.arange(first, until, dtype=np.int64)
        table, faults = self.parse(block, index), list[BadRecord]()
        if table is None:
            wanted = {"fields": len(self.names), "line": self.header_line}
            index, faults, until = find_faults(block, first, until, dialect=self.dialect, **wanted)
            table = self.parse(block, index)
        if table is None:
            raise BadFileError("not_parsed", f"{name} cannot be parsed as CSV after byte {block.position(first).offset}")
        return index, table, faults, until

    def _dialect(self, block: Block) -> arrow_csv.ParseOptions:
        return arrow_csv.ParseOptions(
            delimiter=self.dialect.delimiter,
            quote_char=self.dialect.quote or False,
            newlines_in_values=block.cut.multiline,
        )

    def _types(self) -> arrow_csv.ConvertOptions:
        return arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()),
            null_values=["", *self.dialect.nulls],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )


def _text_of(block: Block, index: Offsets) -> memoryview | bytes:
    """The records' text: the buffer itself where they lie side by side, else a copy without what lies between."""
    cut, buffer = block.cut, block.buffer.data
    first, last = int(index[0]), int(index[-1])
    apart = {int(at) + 1 for at in np.flatnonzero(np.diff(index) != 1)}
    refused = np.array([bad.position - block.origin for bad in cut.bad], dtype=np.int64)
    behind = np.searchsorted(index, np.searchsorted(cut.starts, refused))
    apart.update(int(at) for at in behind if 0 < at < index.size)
    foreign = {at: record.text for at, record in cut.rewritten.items() if record.text is not None}
    places = np.flatnonzero(np.isin(index, np.fromiter(foreign, np.int64))) if foreign else ()
    rewritten = {int(at): foreign[int(index[at])] for at in places}
    for at in rewritten:
        apart.update((at, at + 1))
    borders = [0, *sorted(apart - {0, index.size}), index.size]
    # a last record without line end would make pyarrow take its empty last field for a quoted one
    feed = int(cut.ends[last]) + int(buffer[int(cut.ends[last]) : int(cut.ends[last]) + 1] == _RETURN)
    if len(borders) == 2 and not rewritten and buffer[feed : feed + 1] == _FEED:
        return buffer[int(cut.starts[first]) : feed + 1]
    runs = [
        rewritten[at] if at in rewritten else buffer[int(cut.starts[index[at]]) : int(cut.ends[index[until - 1]])]
        for at, until in pairwise(borders)
    ]
    return b"\n".join([*runs, b""])


def _text_without(block: Block, index: Offsets, surplus: npt.NDArray[np.bool_]) -> memoryview | bytes:
    """The records' text without what lies between them, comments for instance, nor the last delimiter of some."""
    starts, ends, buffer = block.cut.starts[index], block.cut.ends[index] - surplus, block.buffer
    foreign = [at for at, record in block.cut.rewritten.items() if record.text is not None]
    if not surplus.any() and (foreign or not (starts[1:] > ends[:-1] + 2).any()):
        return _text_of(block, index)
    first, stop = int(starts[0]), int(ends[-1]) + 1
    # one byte behind each record, whatever it is, becomes its line feed
    text = np.empty(stop - first, np.uint8)
    text[: min(stop, buffer.size) - first] = buffer[first:stop]
    text[ends - first] = LINE_FEED
    steps = np.zeros(text.size + 1, np.int8)
    steps[starts - first] += 1
    steps[ends - first + 1] -= 1
    kept: npt.NDArray[np.uint8] = text[np.cumsum(steps[:-1], dtype=np.int8).astype(bool)]
    if not set(foreign) & set(index.tolist()):
        return kept.data
    # the fields of a record that was written anew are the same, so its last delimiter is where it was
    lines = [
        (block.cut.rewritten[int(at)].text or b"")[: -1 if is_surplus else None]
        if int(at) in foreign
        else bytes(buffer[start:end])
        for at, start, end, is_surplus in zip(index, starts, ends, surplus, strict=True)
    ]
    return b"\n".join([*lines, b""])


def _end_in_delimiters(block: Block, index: Offsets, dialect: CsvDialect) -> npt.NDArray[np.bool_]:
    last = block.buffer[np.maximum(block.cut.ends[index] - 1, 0)]
    found: npt.NDArray[np.bool_] = last == ord(dialect.delimiter)
    return found


def find_faults(
    block: Block, first: int, until: int, *, fields: int, dialect: CsvDialect, line: int = 1
) -> tuple[Offsets, list[BadRecord], int]:
    """Which of the records `first` to `until` have another number of fields, or are not UTF-8.

    Returns:
        Indices of the good records, the refused ones, and the index up to which it looked: earlier than `until` when
        there were very many.
    """
    kept: list[Offsets] = []
    bad: list[BadRecord] = []
    while first < until and len(bad) < MAX_FAULTS:
        end = min(until, first + _STEP_RECORDS, int(np.searchsorted(block.cut.starts, block.cut.starts[first] + _STEP_BYTES)))
        end = max(end, first + 1)
        index = np.arange(first, end, dtype=np.int64)
        counts = _field_counts(block, first, end, dialect)
        surplus = (counts == fields + 1) & _end_in_delimiters(block, index, dialect)
        ragged, garbled = (counts != fields) & ~surplus, _garbled(block, first, end, dialect)
        bad += _ragged(block, index[ragged], counts[ragged], fields, line)
        invalid = index[garbled & ~ragged]
        bad += _refused(block, invalid, *_invalid(dialect, int(invalid.size)))
        kept.append(index[~(ragged | garbled)])
        first = end
    return np.concatenate(kept or [np.empty(0, np.int64)]), bad, first


def _field_counts(block: Block, first: int, end: int, dialect: CsvDialect) -> Offsets:
    """Fields of each record: the delimiters outside quotes, and one more."""
    starts, ends = block.cut.starts[first:end], block.cut.ends[first:end]
    begin = int(starts[0])
    view = block.buffer[begin : int(ends[-1])]
    delimiters = np.flatnonzero(view == ord(dialect.delimiter)) + begin
    quotes = np.flatnonzero(view == ord(dialect.quote)) + begin if dialect.quote else np.empty(0, np.int64)
    if quotes.size:
        record = np.searchsorted(starts, delimiters, side="right") - 1
        quoted = np.searchsorted(quotes, delimiters) - np.searchsorted(quotes, starts)[record]
        delimiters = delimiters[(quoted & 1 == 0) | ~_quoting(block, starts, ends, quotes, dialect)[record]]
    counts = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1
    for i in range(first, end) if block.cut.rewritten else ():
        if i in block.cut.rewritten:
            counts[i - first] = block.cut.rewritten[i].fields
    return counts


def _quoting(block: Block, starts: Offsets, ends: Offsets, quotes: Offsets, dialect: CsvDialect) -> npt.NDArray[np.bool_]:
    """Which records have a quoted field; in others all quotes are literal."""
    record = np.searchsorted(starts, quotes, side="right") - 1
    left = quotes - 1
    if dialect.trim:
        first, stop = int(starts[0]), int(ends[-1])
        whole = TextSpan(buffer=block.buffer, start=first, stop=stop, origin=0, line=0, final=True)
        left = beside(whole, quotes, dialect)[0]
    opening = (left < starts[record]) | (block.buffer[np.maximum(left, 0)] == ord(dialect.delimiter))
    found = np.zeros(starts.size, bool)
    found[record[opening & (quotes < ends[record])]] = True
    return found


def _invalid(dialect: CsvDialect, count: int) -> tuple[str, list[str]]:
    if dialect.encoding in (UTF_8, *WIDE):
        return "invalid_utf8", ["the record is not valid UTF-8"] * count
    return "invalid_text", [f"the record is not valid {dialect.encoding}"] * count


def _garbled(block: Block, first: int, end: int, dialect: CsvDialect) -> npt.NDArray[np.bool_]:
    starts, ends = block.cut.starts[first:end], block.cut.ends[first:end]
    found, view = np.zeros(end - first, bool), block.buffer.data
    encoding = UTF_8 if dialect.encoding in WIDE else dialect.encoding
    begin = int(starts[0])
    foreign = np.flatnonzero(block.buffer[begin : int(ends[-1])] >= 128) + begin
    for i in np.unique(np.searchsorted(starts, foreign, side="right") - 1):
        try:
            str(view[int(starts[i]) : int(ends[i])], encoding)
        except UnicodeDecodeError:
            found[i] = True
    return found


def _ragged(block: Block, index: Offsets, counts: Offsets, fields: int, line: int) -> list[BadRecord]:
    header = "the header" if line == 1 else f"the header (line {line})"
    reasons = [f"{count} field{'s' * (count != 1)}, but {header} has {fields}" for count in counts.tolist()]
    return _refused(block, index, "ragged", reasons)


def _refused(block: Block, index: Offsets, code: str, reasons: list[str]) -> list[BadRecord]:
    cut, view, origin = block.cut, block.buffer.data, block.origin
    places = zip(cut.starts[index].tolist(), cut.ends[index].tolist(), cut.lines[index].tolist(), reasons, strict=True)
    return [
        BadRecord(
            code=code, reason=reason, raw=bytes(view[start : min(end, start + MAX_RAW_BYTES)]), position=origin + start, line=line
        )
        for start, end, line, reason in places
    ]
