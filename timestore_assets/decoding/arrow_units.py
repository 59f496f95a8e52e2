"""Units of Arrow's times, days and lengths of time, brought to those of DuckDB and the segments; encodings resolved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.sources.arrow_json import clock_text

Mask = npt.NDArray[np.bool_]

FIRST, LAST = -62135596800000000, 253402300799999999
"""0001-01-01 and 9999-12-31T23:59:59.999999 in microseconds since 1970."""
_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
MOST = (1 << 63) - 1
MICROS = {"s": 1_000_000, "ms": 1_000}
"""Microseconds in those units in which a number can be too large for them."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_MS = 86_400_000


def out_of_range_texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps of any unit as texts; those that no calendar holds are `<value out of range: …>` with their number."""
    return values.cast(pa.timestamp(values.type.unit)).cast(pa.string())


def each_chunk(values: pa.ChunkedArray, made: Any, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([made(chunk) for chunk in values.chunks], kind)


def any_is(values: pa.ChunkedArray, odd: Any) -> bool:
    return any(len(chunk) > chunk.null_count and bool(odd(chunk).any()) for chunk in values.chunks)


def resolved(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pt.is_run_end_encoded(kind):
        return each_chunk(values, pc.run_end_decode, kind.value_type)
    if pt.is_nested(kind.value_type):
        return each_chunk(values, lambda chunk: chunk.dictionary.take(chunk.indices), kind.value_type)
    return values.cast(kind.value_type)


def texts_by(values: pa.ChunkedArray, text: Any) -> pa.ChunkedArray:
    def made(chunk: pa.Array[Any]) -> pa.Array[Any]:
        return pa.array([None if value is None else text(value) for value in chunk.to_pylist()], pa.string())

    return each_chunk(values, made, pa.string())


def clock_texts(chunk: Any) -> pa.Array[Any]:
    counts = chunk.view(pa.int32() if chunk.type.bit_width == 32 else pa.int64()).to_pylist()
    unit = "us" if chunk.type.unit == "ns" else chunk.type.unit
    shown = (None if count is None else _cut(count) if chunk.type.unit == "ns" else count for count in counts)
    return pa.array([None if count is None else clock_text(count, unit) for count in shown], pa.string())


def _cut(nanoseconds: int) -> int:
    """Microseconds, cut off as everywhere."""
    return nanoseconds // 1000 if nanoseconds >= 0 else -(-nanoseconds // 1000)


def microseconds(values: Any, unit: str) -> Any:
    """Timestamps, plain or of a zone, as numbers of microseconds of the type `timestamp[us]` with the same zone."""
    wanted = pa.timestamp("us", values.type.tz)
    if unit == "us":
        return values
    if unit == "ns":
        # a plain cast rounds times before 1970 up, and floor_temporal wraps round at the first ones
        chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        floored = pa.chunked_array([_floored(chunk) for chunk in chunks], pa.int64()).cast(wanted)
        return floored if isinstance(values, pa.ChunkedArray) else floored.combine_chunks()
    factor = 1_000_000 // _PER_SECOND[unit]
    count = values.cast(pa.int64())
    ends = pc.min_max(count)
    least, most = ends["min"].as_py(), ends["max"].as_py()
    limit = MOST // factor
    if least is None or (least >= -limit and most <= limit):
        return pc.multiply(count, factor).cast(wanted)
    inside = pc.max_element_wise(pc.min_element_wise(count, limit, skip_nulls=False), -limit, skip_nulls=False)
    micros = pc.multiply(inside, factor)
    micros = pc.if_else(pc.equal(inside, count), micros, pc.if_else(pc.greater(count, 0), MOST, -MOST))
    return micros.cast(wanted)


def days(values: Any) -> Any:
    """`date64` as `date32`, or as timestamps where some are not whole days or lie beyond what it can count."""
    count = values.cast(pa.int64())
    day = pc.divide(count, _DAY_MS)
    if pc.all(pc.and_(pc.equal(pc.multiply(day, _DAY_MS), count), pc.less(pc.abs(day), 1 << 31))).as_py() is not False:
        return values.cast(pa.date32())
    return microseconds(count.cast(pa.timestamp("ms")), "ms")


def interval_texts(values: Any) -> Any:
    """Durations as DuckDB writes its intervals, which hold no nanoseconds: `-25:01:01.000000001`."""
    per_second = _PER_SECOND[values.type.unit]
    count = values.cast(pa.int64())
    parts, rest = [], count
    for size in (3600 * per_second, 60 * per_second, per_second):
        whole = pc.divide(rest, size)
        rest = pc.subtract(rest, pc.multiply(whole, size))
        parts.append(pc.utf8_lpad(pc.abs(whole).cast(pa.string()), 2, "0"))
    sign = pc.if_else(pc.less(count, 0), "-", "")
    text = pc.binary_join_element_wise(sign, pc.binary_join_element_wise(*parts, ":"), "")
    digits = len(str(per_second)) - 1
    if digits:
        fraction = pc.utf8_rtrim(pc.utf8_lpad(pc.abs(rest).cast(pa.string()), digits, "0"), "0")
        dot = pc.if_else(pc.equal(fraction, ""), "", ".")
        text = pc.binary_join_element_wise(text, dot, fraction, "")
    return text


def _floored(chunk: pa.Array[Any]) -> pa.Array[Any]:
    """Microseconds of nanoseconds, cut off."""
    count = np.floor_divide(pc.fill_null(chunk.view(pa.int64()), 0).to_numpy(), 1000)
    return pa.array(count, pa.int64(), mask=pc.is_null(chunk).to_numpy(zero_copy_only=False) if chunk.null_count else None)


def counts_of(values: Any) -> npt.NDArray[np.int64]:
    """What a temporal column holds, in its unit; 0 for null."""
    whole = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    return np.asarray(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), np.int64)


def no_time_of_day(values: Any) -> Mask:
    counts = counts_of(values)
    return (counts < 0) | (counts > _A_DAY[values.type.unit])


def no_interval(values: Any) -> Mask:
    return beyond(counts_of(values), MOST // MICROS.get(values.type.unit, 1) - 1)


def beyond(counts: npt.NDArray[np.int64], most: int) -> Mask:
    return (counts > most) | (counts < -most)
