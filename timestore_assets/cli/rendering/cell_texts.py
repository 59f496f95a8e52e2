"""What the cells of an answer read on a terminal: values exactly as they are, so that a person can trust and copy them.

Numbers have their shortest digits that give the same number when they are read again, without separators. A cell is the value
itself, or a beginning of it that ends in `…`; never the text of another value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from rich.cells import cell_len

from timestore_assets.model.window import format_time
from timestore_assets.sources.arrow_json import decimal_text, json_texts

NULL = "–"
CUT = "…"
EMPTY = '""'
LONGEST_NAME = 60
"""Characters of a column's name in a heading."""
_MOST_QUOTED = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IN_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def cell_texts(values: pa.ChunkedArray, *, longest: int | None = None) -> list[str | None]:
    """What a column's cells read, None for null.

    Midnights alone have no time of day. Lists and structs are JSON, binary values hexadecimal. A text that could be taken for
    another one (empty, blanks at an end, control characters, quotes around it) is written as JSON. `longest`: characters at
    most, of texts, nested and binary values; None for all.
    """
    try:
        texts = _texts(values)
    except (ValueError, OverflowError, TypeError, pa.ArrowException):
        # times that Python has no object for, among others
        texts = _each_json(values)
    kind = values.type
    if longest is None or _is_short(kind):
        return texts
    return [None if text is None else cut(text, longest) for text in texts]


def cut(text: str, longest: int) -> str:
    """The text, or a beginning of it with a mark, in so many cells of a terminal."""
    if len(text) <= longest and cell_len(text) <= longest:
        return text
    kept = text[: longest - 1]
    while cell_len(kept) > longest - 1:
        kept = kept[:-1]
    return kept + CUT


def is_number(kind: pa.DataType) -> bool:
    """Whether cells of this type are aligned to the right."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_short(kind: pa.DataType) -> bool:
    return is_number(kind) or pa.types.is_temporal(kind) or pa.types.is_boolean(kind)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _texts(values: pa.ChunkedArray) -> list[str | None]:
    kind = values.type
    if _is_nested(kind):
        return _each_json(values)
    if pa.types.is_timestamp(kind):
        times = _times(values)
        return _each(times, _day if all(time is None or _is_midnight(time) for time in times) else _moment)
    plain = values.to_pylist()
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return _each(plain, _single)
    if pa.types.is_decimal(kind):
        return _each(plain, decimal_text)
    if pa.types.is_boolean(kind):
        return _each(plain, lambda value: "true" if value else "false")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _each(plain, lambda value: "0x" + value.hex())
    if pa.types.is_date(kind):
        return _each(plain, date.isoformat)
    return _each(plain, str if _is_short(kind) else _text)


def _times(values: pa.ChunkedArray) -> list[datetime | None]:
    """Times in UTC; an OverflowError or a ValueError where Python has none for one of them.

    They are made of their counts here: Arrow imports pandas, where it is installed, before it makes the first.
    """
    counts = [count for chunk in values.chunks for count in chunk.view(pa.int64()).to_pylist()]
    in_a_second = _IN_A_SECOND[values.type.unit]
    return [None if count is None else _time(count, in_a_second) for count in counts]


def _time(count: int, in_a_second: int) -> datetime:
    micros, finer = divmod(count * 1_000_000, in_a_second)
    if finer:
        raise ValueError("a time of nanoseconds")
    return _EPOCH + timedelta(microseconds=micros)


def _each(values: Sequence[Any], text: Callable[[Any], str]) -> list[str | None]:
    return [None if value is None else text(value) for value in values]


def _each_json(values: pa.ChunkedArray) -> list[str | None]:
    pairs = zip(json_texts(values), values.is_valid().to_pylist(), strict=True)
    if _is_nested(values.type):
        return [_printable(text) if here else None for text, here in pairs]
    # times, which are in UTC here
    return [text.strip('"').removesuffix("+00:00") if here else None for text, here in pairs]


def _single(value: float) -> str:
    """The shortest digits that tell a 32-bit float from others; as a double it would have many more."""
    positional = value == 0 or 1e-4 <= abs(value) < 1e16
    return np.format_float_positional(np.float32(value), trim="0") if positional else str(np.float32(value))


def _is_midnight(value: datetime) -> bool:
    return (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)


def _day(value: datetime) -> str:
    return value.date().isoformat()


def _moment(value: datetime) -> str:
    return format_time(value).replace("T", " ").removesuffix("Z")


def _text(value: Any) -> str:
    text = str(value)
    if not text:
        return EMPTY
    return text if _is_plain(text) else _printable(json.dumps(text[:_MOST_QUOTED], ensure_ascii=False))


def _is_plain(text: str) -> bool:
    """Whether a text, written as it is, can't be taken for another one, for null or for a text that was cut off."""
    return text.isprintable() and text == text.strip() and text != NULL and not text.endswith(CUT) and not text.startswith('"')


def _printable(text: str) -> str:
    """JSON in which characters that steer a terminal, or can't be seen, are written by their numbers."""
    return text if text.isprintable() else "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
