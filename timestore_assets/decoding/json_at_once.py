"""A batch of JSON documents read by one call of Arrow's reader, where that provably gives what the other ways would.

Most batches of programs are alike: every document an object of declared keys, each value written as its column's type is. Arrow
reads those in a third of the time of `json_fast_path`, and without the interpreter's lock, which is what counts in a service that
takes requests beside it. It is all or nothing: at the first value that is written in another way, at an undeclared key, at a key
that stands twice or at anything that is no JSON the batch goes the other ways, which know what to say about it.

What Arrow's reader lets pass where the other ways don't is looked for here: bytes that are no text, escapes that stand for none,
several documents in one record, numbers beyond a float's range.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from timestore_assets.decoding.json_fast_path import FIRST_TIME, are_plain_times
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.record_form import Spelling
from timestore_assets.model.schema import Column

_KINDS = frozenset({"string", "bool", "int32", "int64", "double", "date", "timestamp"})
TEXTUAL = frozenset({"date", "timestamp"})
_MOST_BYTES = 4 << 20
"""Beyond it the other ways are nearly as quick, for they use all processors, and a reading that comes to nothing costs more."""
_NO_TEXT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""Escapes that stand for no character of their own, or for one that ends a text in C."""
_FIRST_DAY = -719162  # 0001-01-01 in days since 1970
_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\\.[0-9]{1,6})?)?Z?$"


def read_at_once(documents: pa.ChunkedArray, columns: Sequence[Column], spellings: Sequence[Spelling]) -> pa.Table | None:
    """Typed columns, a row for each document; None where anything speaks against it.

    `spellings`: how the values of each column are written. Every float in the table is finite, and no document has a key that
    is no column.
    """
    if not all(is_plain(column, spelling) for column, spelling in zip(columns, spellings, strict=True)):
        return None
    if not len(documents) or documents.null_count or documents.nbytes > _MOST_BYTES:
        return None
    values = documents.combine_chunks().cast(pa.binary())
    # what is not as declared mostly is so in every document, which the first one tells
    if _table(values[:1], columns) is None or (table := _table(values, columns)) is None:
        return None
    found = [stored_value(table.column(column.name), column) for column in columns]
    if any(value is None for value in found):
        return None
    return pa.table(found, names=[column.name for column in columns])


def _table(documents: pa.Array, columns: Sequence[Column]) -> pa.Table | None:
    """The columns as they are written; None where a document is none of these, or no single one."""
    lines = _lines(documents)
    if lines is None:
        return None
    schema = pa.schema([(column.name, _read_as(column)) for column in columns])
    parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error", newlines_in_values=True)
    reading = pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    try:
        table = pj.read_json(pa.BufferReader(lines), read_options=reading, parse_options=parsing)
    except (pa.ArrowException, ValueError):
        return None
    return table if table.num_rows == len(documents) else None


def is_plain(column: Column, spelling: Spelling) -> bool:
    """Whether values of the column are read here, which are written like this."""
    if column.type.kind in TEXTUAL and not spelling.usual_times:
        return False
    if column.type.kind == "timestamp":
        return spelling.zone is None
    return column.type.kind in _KINDS


def _read_as(column: Column) -> pa.DataType:
    return pa.string() if column.type.kind in TEXTUAL else arrow_type(column.type)


def _lines(values: pa.Array) -> pa.Buffer | None:
    """The documents with line breaks between, if as many are found there as there are records.

    No text may hold a line break and no object begin where a member is to, so what begins and ends with a brace holds one
    document at least, whatever stands before and behind it; as many rows as records are then one for each.
    """
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    if not (np.diff(offsets) > 1).all():
        return None
    content = np.frombuffer(values.buffers()[2], dtype=np.uint8)
    if not ((content[offsets[:-1]] == ord("{")).all() and (content[offsets[1:] - 1] == ord("}")).all()):
        return None
    lines = joined_lines(values)
    return lines if _is_text(lines.to_pybytes()) else None


def joined_lines(values: pa.Array[Any]) -> pa.Buffer:
    """The values with line breaks between."""
    return pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values), b"\n")[0].as_buffer()


def _is_text(lines: bytes) -> bool:
    if b"\x00" in lines or (b"\\u" in lines and _NO_TEXT.search(lines)):
        return False
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


def stored_type(column: Column) -> pa.DataType:
    """Of what `stored_value` gives."""
    return pa.timestamp("us") if column.type.kind == "timestamp" else arrow_type(column.type)


def stored_value(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray | None:
    """What was read of a column as what is stored of it; None when it is not sure to be that."""
    if column.type.kind == "timestamp":
        return _times(values)
    if column.type.kind == "date":
        return _days(values)
    if column.type.is_float:
        found = values.drop_null().to_numpy()
        # the other ways write a number down once more, and minus zero may lose its sign there
        if not np.isfinite(found).all() or np.signbit(found[found == 0]).any():
            return None
    return values


def _times(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The times of texts that all have a plain form, at one and the same zone: written with Z, or without."""
    zone = "UTC" if pc.any(pc.ends_with(texts, "Z")).as_py() else None
    try:
        times = texts.cast(pa.timestamp("us", zone)).cast(pa.timestamp("us"))
    except pa.ArrowException:
        return None
    if are_plain_times(times, texts):
        return times
    first = pc.min(times)
    are_plain = (not first.is_valid or first.value >= FIRST_TIME) and pc.all(pc.match_substring_regex(texts, _TIME)).as_py()
    return times if are_plain is not False else None


def _days(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The days of texts like `2013-01-31`."""
    try:
        days = texts.cast(pa.date32())
    except pa.ArrowException:
        return None
    first = pc.min(days.cast(pa.int32()))
    is_plain = pc.all(pc.equal(pc.binary_length(texts), len("2013-01-31"))).as_py() is not False
    return days if is_plain and (not first.is_valid or first.as_py() >= _FIRST_DAY) else None
