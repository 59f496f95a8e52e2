"""Records of CSV text to columns of text, and which records can't become any."""

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
from timestore_assets.sources.files.blocks import Block
from timestore_assets.sources.files.records import MAX_RAW_BYTES, Offsets
from timestore_assets.sources.port import BadRecord

MAX_FAULTS = 50_000
"""Refused records are Python objects; after so many a batch ends."""
_PARSE_BYTES = 4 << 20
"""Text that one thread parses at a time."""
_WIDE_COLUMNS = 500
"""From here on text is parsed in one go: columns times chunks would be too many arrays."""
_FEED, _RETURN = memoryview(b"\n"), memoryview(b"\r")
_STEP_BYTES = 8 << 20
_STEP_RECORDS = 32_768


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldParser:
    """Parses records of a block whose number of fields is that of `names`."""

    names: tuple[str, ...]
    dialect: CsvDialect

    def parse(self, block: Block, index: Offsets) -> pa.Table | None:
        """The records of these indices as string columns; None when some don't fit or aren't UTF-8."""
        if not index.size:
            return pa.schema([(name, pa.string()) for name in self.names]).empty_table()
        text = pa.py_buffer(_text_of(block, index))
        longest = int((block.cut.ends[index] - block.cut.starts[index]).max())
        parallel = len(self.names) < _WIDE_COLUMNS
        read = arrow_csv.ReadOptions(
            column_names=list(self.names),
            block_size=max(_PARSE_BYTES, 2 * longest + 4096) if parallel else text.size + 1,
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

    def parse_good(self, block: Block, first: int, until: int, *, name: str) -> tuple[Offsets, pa.Table, list[BadRecord], int]:
        """Records `first` to `until` of a block: indices of the good ones, their fields, the others, and where it ended.

        Raises:
            BadFileError: `not_parsed`, what is called `name` is beyond repair.
        """
        index = np.arange(first, until, dtype=np.int64)
        table, faults = self.parse(block, index), list[BadRecord]()
        if table is None:
            index, faults, until = find_faults(block, first, until, fields=len(self.names), dialect=self.dialect)
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


def find_faults(
    block: Block, first: int, until: int, *, fields: int, dialect: CsvDialect
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
        ragged, garbled = counts != fields, _not_utf8(block, first, end)
        bad += _ragged(block, index[ragged], counts[ragged], fields)
        invalid = index[garbled & ~ragged]
        bad += _refused(block, invalid, "invalid_utf8", ["the record is not valid UTF-8"] * invalid.size)
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
    opening = (starts[record] == quotes) | (block.buffer[np.maximum(quotes - 1, 0)] == ord(dialect.delimiter))
    found = np.zeros(starts.size, bool)
    found[record[opening & (quotes < ends[record])]] = True
    return found


def _not_utf8(block: Block, first: int, end: int) -> npt.NDArray[np.bool_]:
    starts, ends = block.cut.starts[first:end], block.cut.ends[first:end]
    found, view = np.zeros(end - first, bool), block.buffer.data
    begin = int(starts[0])
    foreign = np.flatnonzero(block.buffer[begin : int(ends[-1])] >= 128) + begin
    for i in np.unique(np.searchsorted(starts, foreign, side="right") - 1):
        try:
            str(view[int(starts[i]) : int(ends[i])], "utf-8")
        except UnicodeDecodeError:
            found[i] = True
    return found


def _ragged(block: Block, index: Offsets, counts: Offsets, fields: int) -> list[BadRecord]:
    reasons = [f"{count} field{'s' * (count != 1)}, but the header has {fields}" for count in counts.tolist()]
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
