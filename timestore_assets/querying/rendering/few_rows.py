"""Few rows of plain values as JSON, without DuckDB, whose statements take a millisecond whatever they do; most answers are small.

It is all or nothing, and gives the very text that `text_forms` would: whatever may look different there is left to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

MOST_VALUES = 500
_CONTROL = re.compile("[\x00-\x1f]")


def few_rows(names: Sequence[str], columns: Sequence[pa.Array], rows: int) -> list[str] | None:
    """A JSON object for each row; None where there are too many, or a value is not plain. `columns`: timestamps without zone."""
    if rows * len(columns) > MOST_VALUES or not columns:
        return None
    writers = [_writer(column.type) for column in columns]
    if None in writers:
        return None
    try:
        texts = [
            [f"{_text(name)}:{_written(writer, value)}" for value in column.to_pylist()]
            for name, writer, column in zip(names, writers, columns, strict=True)
        ]
    except (ValueError, OverflowError):  # also a time that Python's have no year for
        return None
    return [f"{{{','.join(row)}}}" for row in zip(*texts, strict=True)]


def _writer(kind: pa.DataType) -> Callable[[Any], str] | None:
    """What writes values of a type, and raises ValueError for one that is not plain."""
    if pa.types.is_integer(kind):
        return str
    if kind == pa.float64():
        return _number
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_boolean(kind):
        return _truth
    return _time if kind == pa.timestamp("us") else None


def _written(writer: Callable[[Any], str] | None, value: Any) -> str:
    return "null" if value is None or writer is None else writer(value)


def _number(value: float) -> str:
    text = repr(value)
    if not math.isfinite(value) or "e" in text:
        raise ValueError
    return text


def _text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError
    return json.dumps(value, ensure_ascii=False)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _time(value: datetime) -> str:
    text = value.isoformat()
    return f'"{text.rstrip("0") if "." in text else text}Z"'
