"""The Arrow forms of a schema: what readers get, and what segments hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.types import ColumnType

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "binary": pa.binary(),
}


def arrow_schema(schema: Schema) -> pa.Schema:
    """The visible columns as results have them: timestamps in microseconds with `tz=UTC`, units as field metadata."""
    return pa.schema([_field(column, arrow_type(column.type)) for column in schema])


def stored_arrow_schema(schema: Schema) -> pa.Schema:
    """All columns as segments have them: timestamps without zone, inferred columns as raw text, provenance at the end."""
    visible = [_field(column, stored_arrow_type(column)) for column in schema]
    return pa.schema([*visible, *(pa.field(name, pa.int64(), nullable=False) for name in PROVENANCE_COLUMNS)])


def stored_arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a column inside a segment."""
    return pa.string() if column.origin == "inferred" else arrow_type(column.type, zone=None)


def arrow_type(kind: ColumnType, *, zone: str | None = "UTC") -> pa.DataType:
    """The Arrow type of a column type. `zone`: of timestamps; None for the form inside segments."""
    if kind.kind == "timestamp":
        return pa.timestamp("us", tz=zone)
    if kind.kind == "decimal":
        return pa.decimal128(kind.precision, kind.scale)
    if kind.item is not None:
        return pa.list_(arrow_type(kind.item, zone=zone))
    if kind.kind == "struct":
        return pa.struct([pa.field(name, arrow_type(field, zone=zone)) for name, field in kind.fields])
    return _SCALARS[kind.kind]


def _field(column: Column, kind: pa.DataType) -> pa.Field[Any]:
    texts = {"unit": column.unit, "description": column.description}
    metadata = {key: value for key, value in texts.items() if value}
    return pa.field(column.name, kind, nullable=column.nullable, metadata=metadata or None)
