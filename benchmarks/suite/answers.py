"""Whether two engines gave the same answer, whatever types and order it came in."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def difference(one: pa.Table, other: pa.Table) -> str | None:
    """What tells the answers apart, in a few words; None where they are the same rows."""
    if one.num_rows != other.num_rows:
        return f"{one.num_rows} rows and {other.num_rows}"
    if sorted(one.column_names) != sorted(other.column_names):
        return f"columns {one.column_names} and {other.column_names}"
    left, right = _plain(one, one.column_names), _plain(other, one.column_names)
    for name in one.column_names:
        unlike = pc.sum(pc.not_equal(left[name], right[name])).as_py()
        if unlike or left[name].null_count != right[name].null_count:
            return f"{unlike} of {one.num_rows} values of {name}"
    return None


def _plain(table: pa.Table, names: list[str]) -> pa.Table:
    """Columns of times in microseconds, texts and rounded numbers, sorted by what tells rows apart."""
    columns = [_simple(table[name].combine_chunks()) for name in names]
    plain = pa.table(dict(zip(names, columns, strict=True)))
    keys = [name for name in ("bucket", "time", "hostname") if name in names]
    return plain.sort_by([(key, "ascending") for key in keys])


def _simple(column: pa.Array) -> pa.Array:
    type = column.type
    if pa.types.is_dictionary(type):
        return _simple(column.dictionary_decode())
    if pa.types.is_timestamp(type):
        return column.cast(pa.timestamp("us", type.tz)).cast(pa.int64())
    if pa.types.is_uint32(type):  # ClickHouse's times without fractions
        return pc.multiply(column.cast(pa.int64()), 1_000_000)
    if pa.types.is_floating(type) or pa.types.is_integer(type):
        return pc.round(column.cast(pa.float64()), 6)
    return column.cast(pa.string())
