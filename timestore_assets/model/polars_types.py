"""Column types as Polars types, and back."""

from __future__ import annotations

import polars as pl
from polars._typing import PolarsDataType

from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.types import ColumnType, parse_type

_SCALARS: dict[str, pl.DataType] = {
    "string": pl.String(),
    "bool": pl.Boolean(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "date": pl.Date(),
    "binary": pl.Binary(),
}
_KINDS: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Categorical: "string",
    pl.Enum: "string",
    pl.Boolean: "bool",
    pl.Int8: "int32",
    pl.Int16: "int32",
    pl.Int32: "int32",
    pl.UInt8: "int32",
    pl.UInt16: "int32",
    pl.UInt32: "int64",
    pl.Int64: "int64",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Date: "date",
    pl.Datetime: "timestamp",
    pl.Binary: "binary",
}
_WIDEST_DECIMAL = 38


def polars_type(kind: ColumnType, *, zone: str | None = "UTC") -> pl.DataType:
    """The Polars type of a column type. `zone`: of timestamps; None for the form inside segments."""
    if kind.kind == "timestamp":
        return pl.Datetime("us", zone)
    if kind.kind == "decimal":
        return pl.Decimal(kind.precision, kind.scale)
    if kind.item is not None:
        return pl.List(polars_type(kind.item, zone=zone))
    if kind.kind == "struct":
        return pl.Struct({name: polars_type(field, zone=zone) for name, field in kind.fields})
    return _SCALARS[kind.kind]


def column_type(given: PolarsDataType) -> ColumnType:
    """The narrowest column type that holds all values of a Polars type.

    Raises:
        DeclarationError: there is none; says what to use instead.
    """
    # Polars lets people write pl.Int64 for pl.Int64()
    found = given if isinstance(given, pl.DataType) else given()
    if isinstance(found, pl.Decimal):
        return ColumnType(kind="decimal", precision=found.precision or _WIDEST_DECIMAL, scale=found.scale)
    if isinstance(found, pl.List | pl.Array):
        return ColumnType(kind="list", item=column_type(found.inner))
    if isinstance(found, pl.Struct):
        fields = tuple((field.name, column_type(field.dtype)) for field in found.fields)
        return ColumnType(kind="struct", fields=fields)
    kind = _KINDS.get(type(found))
    if kind is None:
        raise DeclarationError(f"the type {found} can't be stored; use an integer, float, string, date or Datetime type")
    return parse_type(kind)
