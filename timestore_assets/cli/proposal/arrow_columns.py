"""The declarable type of an Arrow column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from timestore_assets.cli.proposal.guess import Guess, shortened
from timestore_assets.model.types import BOOL, DOUBLE, INT64, STRING, TIMESTAMP, ColumnType

_INT32, _FLOAT = ColumnType(kind="int32"), ColumnType(kind="float")
_PREDICATES = (
    (pa.types.is_boolean, BOOL),
    (pa.types.is_int64, INT64),
    (pa.types.is_uint32, INT64),
    (pa.types.is_uint64, INT64),
    (pa.types.is_integer, _INT32),
    (pa.types.is_float64, DOUBLE),
    (pa.types.is_floating, _FLOAT),
    (pa.types.is_string, STRING),
    (pa.types.is_large_string, STRING),
    (pa.types.is_string_view, STRING),
    (pa.types.is_date, ColumnType(kind="date")),
    (pa.types.is_timestamp, TIMESTAMP),
    (pa.types.is_binary, ColumnType(kind="binary")),
    (pa.types.is_large_binary, ColumnType(kind="binary")),
)


def guess_arrow_columns(table: pa.Table) -> list[Guess]:
    """Guesses for the columns of an Arrow table, in order."""
    return [_guess(field, table.column(i)) for i, field in enumerate(table.schema)]


def _guess(field: pa.Field[Any], values: pa.ChunkedArray[Any]) -> Guess:
    kind = declarable(field.type)
    present = values.drop_null()
    return Guess(
        name=field.name,
        type=kind,
        missing=values.null_count,
        example=shortened(present[0].as_py()) if len(present) else "",
        note="" if kind is not None else f"Arrow type {field.type} can't be declared",
    )


def declarable(kind: pa.DataType) -> ColumnType | None:
    """The declared type that holds an Arrow type's values, None when there is none."""
    if pa.types.is_dictionary(kind):
        return declarable(kind.value_type)
    if pa.types.is_decimal(kind):
        fits = 0 <= kind.scale <= kind.precision <= 38
        return ColumnType(kind="decimal", precision=kind.precision, scale=kind.scale) if fits else None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = declarable(kind.value_type)
        return ColumnType(kind="list", item=item) if item is not None else None
    if pa.types.is_struct(kind):
        return _struct(kind)
    return next((declared for matches, declared in _PREDICATES if matches(kind)), None)


def _struct(kind: pa.StructType) -> ColumnType | None:
    fields = []
    for i in range(kind.num_fields):
        found = declarable(kind.field(i).type)
        if found is None or not kind.field(i).name.isidentifier():
            return None
        fields.append((kind.field(i).name, found))
    return ColumnType(kind="struct", fields=tuple(fields)) if fields else None
