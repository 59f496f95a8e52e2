"""Arrow values as JSON text, whatever they hold: times of any year, keys that occur twice, texts that are no UTF-8.

No value goes through a Python object that could not hold it, and one that still can't be shown spoils nothing but itself.
Times are ISO text (in UTC with `+00:00` where the column has a zone), decimals, times of day and durations texts, bytes the
text they are, or `{"base64": "…"}`, which landing reads as bytes; numbers that are not finite are texts. Texts that are no UTF-8
have escapes for what is none.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NULL = "null"
_NOT_A_TIME = -(1 << 63)
"""The one count of units that numpy keeps for itself."""


def json_rows(table: pa.Table) -> list[str]:
    """Each row as a JSON object, columns in their order."""
    names = [_text(name) for name in table.column_names]
    columns = [json_texts(column) for column in table.columns]
    return [_object(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] if columns else ["{}"] * table.num_rows


def json_texts(values: pa.Array[Any] | pa.ChunkedArray) -> list[str]:
    """Each value as JSON text."""
    if isinstance(values, pa.ChunkedArray):
        return [text for chunk in values.chunks for text in json_texts(chunk)]
    try:
        return _texts(values)
    except Exception:  # whatever Arrow calls it: what can't be shown is told from what can
        return [_alone(values.slice(row, 1)) for row in range(len(values))]


def clock_text(count: int, unit: str) -> str:
    """A count of units as hours, minutes and seconds, however many: `-30:00:00.5`."""
    a_second = _A_SECOND[unit]
    seconds, rest = divmod(abs(count), a_second)
    fraction = f".{rest:0{_DIGITS[unit]}d}".rstrip("0").rstrip(".") if rest else ""
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{'-' if count < 0 else ''}{hours:02d}:{minutes:02d}:{seconds % 60:02d}{fraction}"


def decimal_text(value: Any) -> str:
    """A decimal in full, without an exponent."""
    return format(value, "f")


def _alone(value: pa.Array[Any]) -> str:
    try:
        return _texts(value)[0]
    except Exception:
        return _text(f"(a value of type {value.type} that can't be shown)")


def _texts(values: pa.Array[Any]) -> list[str]:
    kind = values.type
    if pt.is_null(kind):
        return [_NULL] * len(values)
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(values)
    for matches, texts in _FORMS:
        if matches(kind):
            return texts(values)
    return _each(values.to_pylist(), lambda value: _text(str(value)))


def _each(values: Sequence[Any], text: Callable[[Any], str]) -> list[str]:
    return [_NULL if value is None else text(value) for value in values]


def _text(value: str) -> str:
    return json.dumps(value.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)


def _object(members: Any) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in members) + "}"


def _bool(values: pa.Array[Any]) -> list[str]:
    return _each(values.to_pylist(), lambda value: "true" if value else "false")


def _integer(values: pa.Array[Any]) -> list[str]:
    return _each(values.to_pylist(), str)


def _float(values: pa.Array[Any]) -> list[str]:
    if values.type == pa.float16():
        values = values.cast(pa.float32())
    # the shortest text of a 32-bit float, not the many digits of the double it widens to
    narrow = values.type == pa.float32()

    def text(value: float) -> str:
        if not math.isfinite(value):
            return _text(str(value))
        return repr(float(str(np.float32(value)))) if narrow else repr(value)

    return _each(values.to_pylist(), text)


def _decimal(values: pa.Array[Any]) -> list[str]:
    return _each(values.to_pylist(), lambda value: _text(decimal_text(value)))


def _string(values: pa.Array[Any]) -> list[str]:
    try:
        return _each(values.to_pylist(), _text)
    except UnicodeDecodeError:
        broken = values.cast(pa.large_binary()) if pt.is_string_view(values.type) else values.view(_bytes_of(values.type))
        return _each(broken.to_pylist(), lambda value: _text(value.decode("utf-8", "backslashreplace")))


def _bytes_of(kind: pa.DataType) -> pa.DataType:
    return pa.large_binary() if pt.is_large_string(kind) else pa.binary()


def _bytes(values: pa.Array[Any]) -> list[str]:
    return _each(values.to_pylist(), _bytes_text)


def _bytes_text(value: bytes) -> str:
    try:
        return _text(value.decode())
    except UnicodeDecodeError:
        return f'{{"base64": "{base64.b64encode(value).decode("ascii")}"}}'


def _counts(values: pa.Array[Any]) -> list[int | None]:
    """What a temporal column holds, in its unit."""
    width = pa.int32() if values.type.bit_width == 32 else pa.int64()
    counts: list[int | None] = values.view(width).to_pylist()
    return counts


def _date(values: pa.Array[Any]) -> list[str]:
    a_day = 86_400_000 if pt.is_date64(values.type) else 1
    return _each(_counts(values), lambda count: _text(str(np.datetime64(count // a_day, "D"))))


def _timestamp(values: pa.Array[Any]) -> list[str]:
    unit, zone = values.type.unit, "" if values.type.tz is None else "+00:00"

    def text(count: int) -> str:
        if count == _NOT_A_TIME:
            return _text(f"{count} {unit} after 1970")
        clock, _, fraction = str(np.datetime64(count, unit)).replace("T", " ").partition(".")
        # six digits or none, as Python has them; nine where they are needed
        six = fraction[:6].ljust(6, "0") + fraction[6:].rstrip("0") if fraction.strip("0") else ""
        return _text(f"{clock}{'.' if six else ''}{six}{zone}")

    return _each(_counts(values), text)


def _clock(values: pa.Array[Any]) -> list[str]:
    unit = values.type.unit
    return _each(_counts(values), lambda count: _text(clock_text(count, unit)))


def _interval(values: pa.Array[Any]) -> list[str]:
    def text(value: Any) -> str:
        seconds, nanos = divmod(abs(value.nanoseconds), 1_000_000_000)
        sign = "-" if value.nanoseconds < 0 else ""
        return _text(f"P{value.months}M{value.days}DT{sign}{seconds}.{nanos:09d}S")

    return _each(values.to_pylist(), text)


def _dictionary(values: Any) -> list[str]:
    texts = json_texts(values.dictionary)
    return _each(values.indices.to_pylist(), texts.__getitem__)


def _runs(values: Any) -> list[str]:
    ends = np.asarray(values.run_ends)
    rows = np.arange(values.offset, values.offset + len(values))
    return [json_texts(values.values)[run] for run in np.searchsorted(ends, rows, side="right").tolist()]


def _list(values: pa.Array[Any]) -> list[str]:
    return [f"[{', '.join(json_texts(row.values))}]" if row.is_valid else _NULL for row in values]


def _map(values: pa.Array[Any]) -> list[str]:
    return [_map_text(row.values) if row.is_valid else _NULL for row in values]


def _map_text(entries: Any) -> str:
    keys = (key if key.startswith('"') else _text(key) for key in json_texts(entries.field(0)))
    return _object(zip(keys, json_texts(entries.field(1)), strict=True))


def _struct(values: Any) -> list[str]:
    names = [_text(field.name) for field in values.type]
    columns = [json_texts(values.field(place)) for place in range(len(names))]
    rows = zip(*columns, strict=True) if columns else iter([()] * len(values))
    valid = values.is_valid().to_pylist()
    return [_object(zip(names, row, strict=True)) if here else _NULL for row, here in zip(rows, valid, strict=True)]


def _union(values: Any) -> list[str]:
    codes = values.type_codes.to_pylist()
    number = {code: place for place, code in enumerate(values.type.type_codes)}
    if values.type.mode == "dense":
        # `offsets` leaves out that of a slice
        places = np.frombuffer(values.buffers()[2], np.int32)[values.offset :][: len(values)].tolist()
    else:
        places = list(range(len(values)))
    return [json_texts(values.field(number[code]).slice(place, 1))[0] for code, place in zip(codes, places, strict=True)]


def _of_extension(values: Any) -> list[str]:
    if values.type.extension_name == "arrow.uuid":
        return _each(values.storage.to_pylist(), lambda value: _text(str(UUID(bytes=value))))
    return json_texts(values.storage)


def _is_list(kind: pa.DataType) -> bool:
    plain = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(plain or pt.is_list_view(kind) or pt.is_large_list_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    plain = pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind)
    return bool(plain or pt.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


_FORMS: tuple[tuple[Callable[[pa.DataType], Any], Callable[[Any], list[str]]], ...] = (
    (pt.is_boolean, _bool),
    (pt.is_integer, _integer),
    (pt.is_floating, _float),
    (pt.is_decimal, _decimal),
    (_is_text, _string),
    (pt.is_timestamp, _timestamp),
    (pt.is_date, _date),
    (pt.is_time, _clock),
    (pt.is_duration, _clock),
    (pt.is_interval, _interval),
    (_is_bytes, _bytes),
    (pt.is_dictionary, _dictionary),
    (pt.is_run_end_encoded, _runs),
    (pt.is_map, _map),
    (_is_list, _list),
    (pt.is_struct, _struct),
    (pt.is_union, _union),
)
