"""Arrow columns as DuckDB and the segments can hold them: without encodings, units and types that they don't have.

No value becomes another one. What they can't hold becomes text: wide decimals, lengths of time, times of day beyond a day, and
of nested values those with a key twice, or all of a column that has such types inside. A time that microseconds can't hold
becomes their largest or smallest number, far outside the calendar, and is refused as such.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from timestore_assets.decoding.arrow_units import (
    FIRST,
    LAST,
    MICROS,
    any_is,
    clock_texts,
    counts_of,
    days,
    each_chunk,
    interval_texts,
    microseconds,
    no_time_of_day,
    resolved,
    texts_by,
)
from timestore_assets.decoding.nested_arrow import KEPT_EXTENSIONS, plain_nested, with_texts
from timestore_assets.sources.arrow_json import decimal_text

MICROSECONDS = pa.timestamp("us")


def plain_arrow(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values without the encodings, units and types that DuckDB or the segments don't have.

    Dictionaries are resolved; instants become microseconds in UTC without a zone, finer ones cut off; whole days are dates,
    lengths of time texts like `25:01:01.5`.
    """
    kind = values.type
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return plain_arrow(resolved(values))
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name not in KEPT_EXTENSIONS:
        return plain_arrow(each_chunk(values, lambda chunk: chunk.storage, kind.storage_type))
    if pt.is_timestamp(kind):
        return microseconds(values, kind.unit).cast(MICROSECONDS)
    if pt.is_string_view(kind) or pt.is_binary_view(kind):
        return values.cast(pa.large_string() if pt.is_string_view(kind) else pa.large_binary())  # of which Arrow can take rows
    if pt.is_date64(kind):
        return days(values)
    if kind == pa.float16():
        return values.cast(pa.float32())
    if pt.is_decimal256(kind):
        return texts_by(values, decimal_text)
    if pt.is_time(kind) and any_is(values, no_time_of_day):
        return each_chunk(values, clock_texts, pa.string())
    if pt.is_duration(kind):
        return interval_texts(values)
    return plain_nested(values) if pt.is_nested(kind) else values


def with_far_times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times that no count of microseconds, or of days, can hold as the texts they are, together with those of all others."""
    kind = values.type
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return with_far_times(resolved(values))
    if pt.is_timestamp(kind) and kind.unit in MICROS:
        least, most = FIRST // MICROS[kind.unit], LAST // MICROS[kind.unit]
    elif pt.is_date64(kind):
        least, most = FIRST // 1000, LAST // 1000
    else:
        return values
    far = [(counts < least) | (counts > most) for counts in map(counts_of, values.chunks)]
    if not any(mask.any() for mask in far):
        return values
    return with_texts(values, pa.chunked_array([pa.array(mask) for mask in far], pa.bool_()), "CAST(v AS VARCHAR)", plain_arrow)
