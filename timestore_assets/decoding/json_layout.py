"""A batch of JSON documents that one program wrote: all laid out alike, so that only the values between the same texts differ.

What stands before, between and behind the values is taken from the first document and compared in all others, so that what has
it is read without parsing: cut at commas (at quotation marks, where values hold commas) by Arrow's reader of CSV, and the values
made of what is between. That takes half of the time of the quickest reader of JSON. It is all or nothing for each part of a
batch: keys in another order, a key more or less, another blank, a value of another kind or an escape anywhere, and it goes the
other ways.

Why that is what the documents say: no byte of them is a backslash or a control character, and there are no more quotation marks
than the texts between the values have, so that none is in a value and each value between two of them is one whole text. The
values without them are proven one by one, numbers by the grammar of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from timestore_assets.decoding.json_at_once import TEXTUAL, is_plain, joined_lines, stored_type, stored_value
from timestore_assets.decoding.json_fast_path import occurrences
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.record_form import Spelling
from timestore_assets.model.schema import Column

FEWEST = 8_000
"""Below it, so many calls of Arrow cost more than its reader of JSON does."""
_FIRST_ROWS = 64
"""Documents that are not alike mostly show it soon, and then little was done in vain."""
_PART_BYTES = 4 << 20
_FAILURES = 2
"""Parts that were read in vain; after them the rest of a batch is not tried."""
_MOST_BYTES = 1 << 30
"""What no batch has; Arrow's arrays of texts end at twice that."""
_QUOTED = TEXTUAL | {"string"}
_KEY = re.compile(rb' *([{,]) *"([^"]*)" *: *')
_TEXT, _BARE, _END = re.compile(rb'"[^"]*"'), re.compile(rb'[^" ,{}\[\]]+'), re.compile(rb" *} *")
_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"
_VALUE = b"\x00"
"""Stands for a value in a layout; no document that is read here has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Of an object: what surrounds its values, and whose these are."""

    template: bytes
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, document: bytes, columns: Sequence[Column]) -> _Layout | None:
        """None where it is no object of these columns that has each at most once, and written as is usual for its type."""
        known = {column.name.encode(): column for column in columns}
        found, texts, begin, at = list[Column](), list[bytes](), 0, 0
        while key := _KEY.match(document, at):
            column = known.pop(key[2], None)
            if column is None or (key[1] == b"{") != (not found):
                return None
            quote = int(column.type.kind in _QUOTED)
            value = (_TEXT if quote else _BARE).match(document, key.end())
            if value is None:
                return None
            found.append(column)
            texts.append(document[begin : value.start() + quote])
            begin, at = value.end() - quote, value.end()
        if not found or not _END.fullmatch(document, at):
            return None
        return cls(template=_VALUE.join([*texts, document[begin:]]), columns=tuple(found))

    def fields(self, mark: bytes) -> list[_Field] | None:
        """The pieces of a document that is cut at each mark; None if some piece has two values."""
        pieces, columns = self.template.split(mark), iter(self.columns)
        if any(piece.count(_VALUE) > 1 for piece in pieces):
            return None
        cut = (piece.partition(_VALUE) for piece in pieces)
        return [_Field(prefix=prefix, column=next(columns) if value else None, suffix=suffix) for prefix, value, suffix in cut]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """A piece of every document: a value with what surrounds it, or without a column the same in each."""

    prefix: bytes
    column: Column | None
    suffix: bytes

    def value(self, pieces: pa.ChunkedArray) -> pa.ChunkedArray | None:
        """What differs in the pieces; None where one does not look like this."""
        lengths = pc.min_max(pc.binary_length(pieces)).as_py()
        if lengths["min"] < len(self.prefix) + len(self.suffix):
            return None
        if not (_all(pc.starts_with(pieces, self.prefix)) and _all(pc.ends_with(pieces, self.suffix))):
            return None
        return pc.binary_slice(pieces, len(self.prefix), -len(self.suffix) if self.suffix else lengths["max"])


@dataclass(frozen=True, kw_only=True, slots=True)
class AlikePart:
    """Documents that stand one after the other in a batch. `table`: what they say, None where they are to be read otherwise."""

    rows: int
    table: pa.Table | None = None


def read_alike(
    documents: pa.ChunkedArray, columns: Sequence[Column], spellings: Sequence[Spelling], *, fewest: int = FEWEST
) -> list[AlikePart]:
    """The parts of a batch with the columns of those whose documents are laid out alike; none at all if none are.

    In these every float is finite, and no document has a key that is no column.
    """
    if len(documents) < fewest or documents.null_count or documents.nbytes > _MOST_BYTES:
        return []
    if not all(is_plain(column, spelling) for column, spelling in zip(columns, spellings, strict=True)):
        return []
    layout = _Layout.of(documents[0].as_py(), columns)
    rows = max(_FIRST_ROWS, _PART_BYTES * len(documents) // max(documents.nbytes, 1))
    parts, start, failed = list[AlikePart](), 0, 0
    while start < len(documents):
        some = documents.slice(start, rows if start else _FIRST_ROWS)
        table = None if layout is None else _read(some.combine_chunks().cast(pa.binary()), layout, columns)
        start, failed = start + len(some), failed + (table is None)
        if table is None and not parts:
            return []
        parts.append(AlikePart(rows=len(some), table=table))
        if failed == _FAILURES:
            break
    return [*parts, AlikePart(rows=len(documents) - start)] if start < len(documents) else parts


def _read(documents: pa.Array[Any], layout: _Layout, columns: Sequence[Column]) -> pa.Table | None:
    mark = _mark(documents, layout)
    fields = layout.fields(mark) if mark is not None else None
    pieces = _pieces(documents, mark, len(fields)) if mark is not None and fields is not None else None
    if fields is None or pieces is None:
        return None
    found: dict[str, pa.ChunkedArray | pa.Array[Any]] = {}
    for field, piece in zip(fields, pieces.columns, strict=True):
        if field.column is None:
            if not _all(pc.equal(piece, field.prefix)):
                return None
            continue
        inside = field.value(piece)
        value = None if inside is None else _typed(inside, field.column)
        if value is None:
            return None
        found[field.column.name] = value
    for column in columns:
        if column.name not in found:
            found[column.name] = pa.nulls(len(documents), stored_type(column))
    return pa.table([found[column.name] for column in columns], names=[column.name for column in columns])


def _mark(documents: pa.Array[Any], layout: _Layout) -> bytes | None:
    """Where the documents can be cut, if they hold nothing that the layout does not account for."""
    offsets = np.frombuffer(documents.buffers()[1], dtype=np.int32)[documents.offset : documents.offset + len(documents) + 1]
    content = np.frombuffer(documents.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    if not len(content) or content.min() < ord(" ") or occurrences(documents, ord("\\")):
        return None
    if occurrences(documents, ord('"')) != layout.template.count(b'"') * len(documents):
        return None
    commas = occurrences(documents, ord(","))
    return b"," if commas == layout.template.count(b",") * len(documents) else b'"'


def _pieces(documents: pa.Array[Any], mark: bytes, count: int) -> pa.Table | None:
    """The documents cut at each mark, if each has as many pieces."""
    lines, names = joined_lines(documents), [str(number) for number in range(count)]
    try:
        return pv.read_csv(
            pa.BufferReader(lines),
            read_options=pv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=names),
            parse_options=pv.ParseOptions(delimiter=mark.decode(), quote_char=False, ignore_empty_lines=False),
            convert_options=pv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False),
        )
    except pa.ArrowException:
        return None


def _typed(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray | None:
    """Values of the column; None where one is not written as that of its type is."""
    try:
        texts = values.cast(pa.string())
        if column.type.kind in _QUOTED:
            return stored_value(texts, column)
        missing = pc.equal(texts, "null")
        if pc.any(missing).as_py():
            texts = pc.if_else(missing, None, texts)
        if column.type.kind == "bool":
            is_true = pc.equal(texts, "true")
            return is_true if _all(pc.or_(is_true, pc.equal(texts, "false"))) else None
        found = texts.cast(arrow_type(column.type))
    except pa.ArrowException:
        return None
    # each integer is written in one way only
    is_number = pc.match_substring_regex(texts, _NUMBER) if column.type.is_float else pc.equal(found.cast(pa.string()), texts)
    return stored_value(found, column) if _all(is_number) else None


def _all(are_so: pa.ChunkedArray) -> bool:
    """Whether none is false."""
    return pc.all(are_so).as_py() is not False
