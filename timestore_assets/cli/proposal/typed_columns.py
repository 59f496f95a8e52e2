"""Guess the types of columns that have one already: those of Arrow tables, and the members of JSON documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.cli.proposal.column_guesses import Guess, shortened
from timestore_assets.model.types import BOOL, DOUBLE, INT64, STRING, TIMESTAMP, ColumnType
from timestore_assets.sources.arrow_json import json_texts

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
    return Guess(
        name=field.name,
        type=kind,
        missing=values.null_count,
        example=_example(values) if values.null_count < len(values) else "",
        note="" if kind is not None else f"Arrow type {field.type} can't be declared",
    )


def lookable(table: pa.Table) -> pa.Table:
    """The columns whose values DuckDB can show, for a look at times and keys; times outside its calendar are null."""
    from timestore_assets.decoding.arrow_units import FIRST, LAST
    from timestore_assets.decoding.plain_arrow import plain_arrow

    kept = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if declarable(column.type) is None and not pa.types.is_time(column.type):
            continue
        if pa.types.is_nested(column.type):
            continue
        values = plain_arrow(column)
        if pa.types.is_timestamp(values.type):
            micros = values.cast(pa.int64())
            inside = pc.and_(pc.greater_equal(micros, FIRST), pc.less_equal(micros, LAST))
            values = pc.if_else(inside, values, None)
        kept[name] = values
    return pa.table(kept) if kept else pa.table({"nothing": pa.nulls(table.num_rows)})


def _example(values: pa.ChunkedArray[Any]) -> str:
    first = next((place for place, value in enumerate(values) if value.is_valid), 0)
    try:
        return shortened(values[first].as_py())
    except Exception:  # Python has no year 10000, among others
        return shortened(json_texts(values.slice(first, 1))[0].strip('"'))


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


_INT64 = range(-(2**63), 2**63)


def guess_members(documents: Sequence[dict[str, Any]]) -> list[Guess]:
    """Guesses for the members of the documents, in order of first appearance.

    Texts are guessed as strings; whether they are times is for `text_columns` to say.
    """
    names = dict.fromkeys(name for document in documents for name in document)
    return [_guess_member(name, [document.get(name) for document in documents]) for name in names]


def _guess_member(name: str, values: Sequence[Any]) -> Guess:
    present = [value for value in values if value is not None]
    missing = len(values) - len(present)
    if not present:
        return Guess(name=name, type=None, missing=missing, note="always null here")
    kind = _type_of(present)
    note = "" if kind is not None else "values of several types"
    return Guess(name=name, type=kind, missing=missing, example=shortened(present[0]), note=note)


def _type_of(values: Iterable[Any]) -> ColumnType | None:
    """The one type that fits all non-null values, None when there is none."""
    values = [value for value in values if value is not None]
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return BOOL
    if kinds == {int} and all(value in _INT64 for value in values):
        return INT64
    if kinds and kinds <= {int, float}:
        return DOUBLE
    if kinds == {str}:
        return STRING
    if kinds == {list}:
        item = _type_of(item for value in values for item in value)
        return ColumnType(kind="list", item=item) if item is not None else None
    if kinds == {dict}:
        return _struct_of_members(values)
    return None


def _struct_of_members(values: Sequence[dict[str, Any]]) -> ColumnType | None:
    """A struct only of what all values share: a member that some lack could not be told from one that is new."""
    names = tuple(values[0])
    if not names or any(set(value) != set(names) for value in values):
        return None
    fields = tuple((name, _type_of(value[name] for value in values)) for name in names)
    plain = all(name.isidentifier() for name in names)
    if not plain or any(kind is None for _, kind in fields):
        return None
    return ColumnType(kind="struct", fields=tuple((name, kind) for name, kind in fields if kind is not None))


def scalar_table(documents: Sequence[dict[str, Any]], names: Iterable[str]) -> pa.Table:
    """The scalar members as text columns, for a look at times and keys."""
    import pyarrow as pa

    columns = {name: pa.array([_scalar(document.get(name)) for document in documents], pa.string()) for name in names}
    return pa.table(columns)


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else repr(value)
