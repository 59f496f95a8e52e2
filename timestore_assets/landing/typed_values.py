"""Arrow columns to the types of the declaration: equal ones pass untouched, others go through the coercion table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.landing.cells import RAW, Cell
from timestore_assets.landing.coercion import in_calendar, value_of_json, value_of_text
from timestore_assets.landing.extras import RawColumn
from timestore_assets.landing.local_time import UTC_NAMES, local_to_utc
from timestore_assets.model.schema import Column
from timestore_assets.model.types import ColumnType, duckdb_type

_MICROSECONDS = pa.timestamp("us")
# 0001-01-01 and 9999-12-31T23:59:59.999999 in microseconds since 1970
_FIRST, _LAST = -62135596800000000, 253402300799999999
_FLOAT_LIMIT = "3.4028234663852886e38"
_IMPOSSIBLE = "NULL"


def typed_cell(column: Column, values: pa.ChunkedArray, *, zone: str | None) -> Cell:
    """How an Arrow column fills a column of the schema."""
    naive = pt.is_timestamp(values.type) and values.type.tz is None
    values = plain_arrow(values)
    if _passes(values.type, column.type) and not (naive and zone not in (None, *UTC_NAMES)):
        return Cell(column=column, raw=values, value=in_calendar(RAW) if _outside_calendar(values) else None)
    value = _value(values.type, column.type, zone if naive or not pt.is_timestamp(values.type) else None)
    if value == _IMPOSSIBLE:
        value = f"CAST(NULL AS {duckdb_type(column.type)})"
    return Cell(column=column, raw=values, value=value)


def typed_raw_column(values: pa.ChunkedArray) -> RawColumn:
    """The raw text of an undeclared Arrow column, as it would stand in a text file."""
    values = plain_arrow(values)
    kind = values.type
    if pt.is_null(kind):
        values = values.cast(pa.string())
    name = "bool" if pt.is_boolean(kind) else "int64" if pt.is_integer(kind) and kind != pa.uint64() else None
    name = "double" if pt.is_floating(kind) else name or "string"
    return RawColumn(values=values, type_name=name)


def plain_arrow(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values without the encodings and units that DuckDB or the segments don't have.

    Dictionaries are resolved; instants become microseconds in UTC without a zone, finer ones truncated; dates count days.
    """
    kind = values.type
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return plain_arrow(values.cast(kind.value_type))
    if pt.is_timestamp(kind):
        return _microseconds(values)
    if pt.is_date64(kind):
        return values.cast(pa.date32())
    if kind == pa.float16():
        return values.cast(pa.float32())
    return values


def _microseconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    unit = values.type.unit
    if unit == "us":
        return values if values.type.tz is None else values.cast(_MICROSECONDS)
    naive = values.cast(pa.timestamp(unit))
    if unit == "ns":
        # a plain cast rounds times before 1970 up
        return pc.floor_temporal(naive, unit="microsecond").cast(_MICROSECONDS, safe=False)
    factor = {"s": 1_000_000, "ms": 1_000}[unit]
    count = naive.cast(pa.int64())
    # what microseconds can't hold lies far outside the years 1 to 9999 and is refused as such
    count = pc.min_element_wise(
        pc.max_element_wise(count, _FIRST // factor - 1, skip_nulls=False), _LAST // factor + 1, skip_nulls=False
    )
    return pc.multiply(count, factor).cast(_MICROSECONDS)


def _outside_calendar(values: pa.ChunkedArray) -> bool:
    if not pt.is_temporal(values.type):
        return False
    day = 1 if pt.is_date(values.type) else 86_400_000_000
    ends = pc.min_max(values.cast(pa.int32() if day == 1 else pa.int64()))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    return first is not None and (first < _FIRST // 86_400_000_000 * day or last >= (_LAST // 86_400_000_000 + 1) * day)


def _passes(kind: pa.DataType, wanted: ColumnType) -> bool:
    match wanted.kind:
        case "string":
            return _is_text(kind)
        case "binary":
            return _is_bytes(kind) and not pt.is_fixed_size_binary(kind)
        case "decimal":
            return bool(kind == pa.decimal128(wanted.precision, wanted.scale))
        case "list":
            return bool(pt.is_list(kind) or pt.is_large_list(kind)) and _passes_inside(kind.value_type, wanted.item)
        case "struct":
            if not pt.is_struct(kind) or tuple(field.name for field in kind) != tuple(name for name, _ in wanted.fields):
                return False
            return all(_passes_inside(field.type, item) for field, (_, item) in zip(kind, wanted.fields, strict=True))
        case _:
            return bool(kind == _SAME[wanted.kind])


def _passes_inside(kind: pa.DataType, wanted: ColumnType | None) -> bool:
    # times inside lists and structs go the long way, where zone and unit are seen to
    return wanted is not None and not pt.is_temporal(kind) and _passes(kind, wanted)


_SAME = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": _MICROSECONDS,
}


def _value(kind: pa.DataType, wanted: ColumnType, zone: str | None) -> str:
    """SQL over `RAW` of this Arrow type for a value of the wanted one; what can't be one is NULL."""
    if pt.is_null(kind):
        return _IMPOSSIBLE
    if pt.is_nested(kind) or wanted.is_nested:
        raw = f"CAST({RAW} AS VARCHAR)" if _is_text(kind) else f"CAST(to_json({RAW}) AS VARCHAR)"
        if wanted.kind == "string":
            return _IMPOSSIBLE
        return (value_of_text if _is_text(kind) else value_of_json)(raw, wanted, zone=zone)
    if _is_text(kind):
        return value_of_text(RAW, wanted, zone=zone)
    if _is_bytes(kind):
        return RAW if wanted.kind == "binary" else value_of_text(f"try(decode({RAW}))", wanted, zone=zone)
    if wanted.kind == "string":
        return f"CAST({RAW} AS VARCHAR)"
    if pt.is_integer(kind):
        return _from_integer(wanted)
    if pt.is_floating(kind):
        return _from_float(wanted)
    if pt.is_decimal(kind):
        return _from_decimal(wanted)
    return _from_temporal(kind, wanted, zone)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind) or pt.is_fixed_size_binary(kind))


def _from_integer(wanted: ColumnType) -> str:
    return f"try_cast({RAW} AS {duckdb_type(wanted)})" if wanted.is_numeric else _IMPOSSIBLE


def _from_float(wanted: ColumnType) -> str:
    if wanted.kind == "double":
        return f"CAST({RAW} AS DOUBLE)"
    if wanted.kind == "float":
        # beyond a float's range is infinite, as in a text, and refused as not finite
        infinite = f"CASE WHEN {RAW} > 0 THEN 'inf'::FLOAT ELSE '-inf'::FLOAT END"
        return f"CASE WHEN abs({RAW}) > {_FLOAT_LIMIT} AND NOT isnan({RAW}) THEN {infinite} ELSE try_cast({RAW} AS FLOAT) END"
    if wanted.kind == "decimal":
        exact = f"try_cast({RAW} AS {duckdb_type(wanted)})"
        return f"CASE WHEN CAST({exact} AS DOUBLE) = CAST({RAW} AS DOUBLE) THEN {exact} END"
    return _IMPOSSIBLE


def _from_decimal(wanted: ColumnType) -> str:
    if wanted.is_float:
        return f"CAST({RAW} AS {duckdb_type(wanted)})"
    if wanted.is_numeric:
        exact = f"try_cast({RAW} AS {duckdb_type(wanted)})"
        return f"CASE WHEN {exact} = {RAW} THEN {exact} END"
    return _IMPOSSIBLE


def _from_temporal(kind: pa.DataType, wanted: ColumnType, zone: str | None) -> str:
    if pt.is_date(kind) and wanted.kind in ("date", "timestamp"):
        return _zoned(f"CAST({RAW} AS TIMESTAMP)", zone) if wanted.kind == "timestamp" else RAW
    if pt.is_timestamp(kind) and wanted.kind == "timestamp":
        return _zoned(RAW, zone)
    if pt.is_timestamp(kind) and wanted.kind == "date":
        return f"CASE WHEN date_trunc('day', {RAW}) = {RAW} THEN CAST({RAW} AS DATE) END"
    return _IMPOSSIBLE


def _zoned(local: str, zone: str | None) -> str:
    return local if zone is None else local_to_utc(local, zone)
