"""Arrow columns to the types of the declaration: equal ones pass untouched, others go through the coercion table."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from timestore_assets.decoding.arrow_units import FIRST, LAST, out_of_range_texts
from timestore_assets.decoding.coerce_columns import RAW, ColumnCoercion
from timestore_assets.decoding.coercion import in_calendar, value_of_json, value_of_text
from timestore_assets.decoding.nested_arrow import nested_texts
from timestore_assets.decoding.plain_arrow import MICROSECONDS, plain_arrow, with_far_times
from timestore_assets.decoding.spelling import UTC_NAMES, bound, local_to_utc
from timestore_assets.decoding.undeclared_columns import RawColumn
from timestore_assets.model.record_form import POINT, Spelling
from timestore_assets.model.schema import Column
from timestore_assets.model.types import ColumnType, duckdb_type

_FLOAT_LIMIT = "3.4028234663852886e38"
_IMPOSSIBLE = "NULL"


def typed_cell(
    column: Column, values: pa.ChunkedArray, *, zone: str | None = None, spelling: Spelling | None = None
) -> ColumnCoercion:
    """How an Arrow column fills a column of the schema. `zone`, `spelling`: as in `coercion.value_of_text`."""
    spelling = spelling or Spelling(zone=zone)
    zone = spelling.zone
    naive = pt.is_timestamp(values.type) and values.type.tz is None
    given, values = values, plain_arrow(values)
    if _is_text(values.type) and not _is_text(_value_type(given.type)) and not _is_bytes(_value_type(given.type)):
        return ColumnCoercion(column=column, raw=values, value=_of_text_form(_value_type(given.type), column.type, zone))
    shown = given if pt.is_timestamp(given.type) else values if pt.is_timestamp(values.type) else None
    if _passes(values.type, column.type) and not (naive and zone not in (None, *UTC_NAMES)):
        inside = _date_in_calendar(RAW) if pt.is_date(values.type) else in_calendar(RAW)
        return ColumnCoercion(column=column, raw=values, value=inside if _outside_calendar(values) else None, shown=shown)
    if pt.is_timestamp(values.type) and not naive:
        spelling = replace(spelling, zone=None)
    if column.type.is_nested and _holds_bytes(values.type):
        # DuckDB's own JSON has escapes for bytes, which nobody could tell from a text that looks like them
        texts = pa.chunked_array([pa.array(nested_texts(chunk), pa.string()) for chunk in values.chunks], pa.string())
        return ColumnCoercion(
            column=column, raw=texts, value=value_of_json(RAW, column.type, spelling=spelling), spelling=spelling
        )
    value = _value(values.type, column.type, spelling)
    if value == _IMPOSSIBLE:
        value = f"CAST(NULL AS {duckdb_type(column.type)})"
    return ColumnCoercion(column=column, raw=values, value=value, spelling=spelling, shown=shown)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether bytes are inside a struct, list or map."""
    inside = [kind.field(place).type for place in range(kind.num_fields)] if pt.is_nested(kind) else []
    return any(_is_bytes(part) or _holds_bytes(part) for part in inside)


def _value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values under an encoding."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return _value_type(kind.value_type)
    return _value_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def _of_text_form(kind: pa.DataType, wanted: ColumnType, zone: str | None) -> str:
    """SQL for values of this Arrow type that come as text because DuckDB can't hold them, see `plain_arrow`."""
    if wanted.kind == "binary" or (wanted.kind == "string" and pt.is_nested(kind)):
        return f"CAST(NULL AS {duckdb_type(wanted)})"
    value = value_of_text(RAW, wanted, zone=zone)
    if wanted.kind != "struct":
        return value
    # the second of two equal keys would vanish silently
    keys = f"json_keys(CASE WHEN json_valid({RAW}) AND starts_with({RAW}, '{{') THEN {RAW} ELSE '{{}}' END)"
    return f"CASE WHEN len({keys}) = len(list_distinct({keys})) THEN {value} END"


def typed_raw_column(values: pa.ChunkedArray) -> RawColumn:
    """The raw text of an undeclared Arrow column, as it would stand in a text file."""
    stored = plain_arrow(with_far_times(values))
    if pt.is_timestamp(values.type) and pt.is_timestamp(stored.type) and _outside_calendar(stored):
        stored = out_of_range_texts(values)
    values, kind = stored, stored.type
    if pt.is_null(kind):
        values = values.cast(pa.string())
    name = "bool" if pt.is_boolean(kind) else "int64" if pt.is_integer(kind) and kind != pa.uint64() else None
    name = "double" if pt.is_floating(kind) else name or "string"
    return RawColumn(values=values, type_name=name)


def _outside_calendar(values: pa.ChunkedArray) -> bool:
    if not pt.is_temporal(values.type):
        return False
    day = 1 if pt.is_date(values.type) else 86_400_000_000
    ends = pc.min_max(values.cast(pa.int32() if day == 1 else pa.int64()))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    return first is not None and (first < FIRST // 86_400_000_000 * day or last >= (LAST // 86_400_000_000 + 1) * day)


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
    "timestamp": MICROSECONDS,
}


def _value(kind: pa.DataType, wanted: ColumnType, spelling: Spelling) -> str:
    """SQL over `RAW` of this Arrow type for a value of the wanted one; what can't be one is NULL."""
    if pt.is_null(kind):
        return _IMPOSSIBLE
    if pt.is_nested(kind) or wanted.is_nested:
        raw = f"CAST({RAW} AS VARCHAR)" if _is_text(kind) else f"CAST(to_json({RAW}) AS VARCHAR)"
        if wanted.kind == "string":
            return _IMPOSSIBLE
        return (value_of_text if _is_text(kind) else value_of_json)(raw, wanted, spelling=spelling)
    if _is_text(kind):
        return value_of_text(RAW, wanted, spelling=spelling)
    if _is_bytes(kind):
        return RAW if wanted.kind == "binary" else value_of_text(f"try(decode({RAW}))", wanted, spelling=spelling)
    if wanted.kind == "string":
        return f"CAST({RAW} AS VARCHAR)"
    if wanted.is_temporal and not spelling.usual_times and not pt.is_temporal(kind):
        # by its digits: a double of seconds says no more than they do
        return value_of_text(f"CAST({RAW} AS VARCHAR)", wanted, spelling=replace(spelling, marks=POINT))
    if pt.is_integer(kind):
        return _from_integer(wanted)
    if pt.is_floating(kind):
        return _from_float(wanted)
    if pt.is_decimal(kind):
        return _from_decimal(wanted)
    return _from_temporal(kind, wanted, spelling.zone)


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
        return f"CASE WHEN CAST(CAST({exact} AS VARCHAR) AS DOUBLE) = CAST({RAW} AS DOUBLE) THEN {exact} END"
    return _IMPOSSIBLE


def _from_decimal(wanted: ColumnType) -> str:
    if wanted.is_float:
        # DuckDB's own cast can be off by the last digit of a double, its reader of texts never is
        return f"CAST(CAST({RAW} AS VARCHAR) AS {duckdb_type(wanted)})"
    if wanted.is_numeric:
        exact = f"try_cast({RAW} AS {duckdb_type(wanted)})"
        return f"CASE WHEN {exact} = {RAW} THEN {exact} END"
    return _IMPOSSIBLE


def _from_temporal(kind: pa.DataType, wanted: ColumnType, zone: str | None) -> str:
    if pt.is_date(kind) and wanted.kind in ("date", "timestamp"):
        return (
            _zoned(f"CAST({_date_in_calendar(RAW)} AS TIMESTAMP)", zone) if wanted.kind == "timestamp" else _date_in_calendar(RAW)
        )
    if pt.is_timestamp(kind) and wanted.kind == "timestamp":
        return _zoned(in_calendar(RAW), zone)
    if pt.is_timestamp(kind) and wanted.kind == "date":
        inside = in_calendar(RAW)
        return f"CASE WHEN date_trunc('day', {inside}) = {RAW} THEN CAST({inside} AS DATE) END"
    return _IMPOSSIBLE


def _date_in_calendar(value: str) -> str:
    """As `in_calendar` for a DATE expression of any range: comparing it with times would make one of it first, and fail."""
    return f"CASE WHEN {value} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {value} END"


def _zoned(local: str, zone: str | None) -> str:
    # at the calendar's ends a zone leads out of it
    return local if zone is None else bound(local_to_utc(local, zone), "time", in_calendar("time"))
