"""What a changed declaration means for a dataset that already has rows: pure comparison, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from timestore_assets.catalog.records import SchemaChange
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import ColumnType
from timestore_assets.model.window import format_time

FIXED = ("window", "time", "partition_by", "dedupe")
"""Parts of a declaration that segments were written by, so they can't change under them."""

_LOSSLESS = {
    "bool": {"int32", "int64", "double"},
    "int32": {"int64", "double"},
    "float": {"double"},
    "date": {"timestamp"},
}
# an inferred column is kept as its raw text, so every step of the inference order can be read from it again
_LOSSLESS_FROM_TEXT = {"bool": {"int64", "double", "string"}, "int64": {"double", "string"}, "double": {"string"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Redeclared:
    """`schema`: the next one, its version raised if `changes` is not empty. `problems`: why it has to be refused."""

    schema: Schema
    changes: tuple[SchemaChange, ...]
    problems: tuple[str, ...]


def redeclare(current: Schema, declared: Schema) -> Redeclared:
    """Bring a declared schema and the one the catalog evolved together: declared order first, then what was inferred."""
    problems = [
        f"column {column.name!r} was removed"
        for column in current
        if column.origin == "declared" and declared.find(column.name) is None
    ]
    changes: list[SchemaChange] = []
    columns: list[Column] = []
    for column in declared:
        known = current.find(column.name)
        problems += _problems(known, column)
        if known is None:
            changes.append(SchemaChange(kind="column_added", column=column.name, before=None, after=str(column.type)))
        elif known.type != column.type:
            before, after = str(known.type), str(column.type)
            changes.append(SchemaChange(kind="type_widened", column=column.name, before=before, after=after))
        columns.append(replace(column, origin=known.origin) if known else column)
    columns += [column for column in current if column.origin == "inferred" and declared.find(column.name) is None]
    schema = Schema(columns=tuple(columns), version=current.version + bool(changes))
    return Redeclared(schema=schema, changes=tuple(changes), problems=tuple(problems))


def is_widening(before: ColumnType, after: ColumnType, *, from_text: bool = False) -> bool:
    """Whether every value of `before` is exactly a value of `after`, so that old segments can be read as `after`."""
    if before == after:
        return True
    if from_text:
        return after.kind in _LOSSLESS_FROM_TEXT.get(before.kind, ())
    if before.item is not None and after.item is not None:
        return is_widening(before.item, after.item)
    if after.kind == "decimal":
        whole = {"int32": 10, "int64": 19, "decimal": before.precision - before.scale}.get(before.kind)
        return whole is not None and after.precision - after.scale >= whole and after.scale >= before.scale
    return after.kind in _LOSSLESS.get(before.kind, ())


def fixed_problems(
    before: Mapping[str, Any], dataset: Dataset, after: Mapping[str, Any], *, first: datetime, last: datetime
) -> tuple[str, ...]:
    """Why the parts of a declaration beside its columns can't change so; `first`, `last`: times of the rows there are."""
    problems = [
        f"{key} changed from {before.get(key)!r} to {after.get(key)!r}" for key in FIXED if before.get(key) != after.get(key)
    ]
    if before.get("start") != after.get("start") and dataset.start > first:
        problems.append(f"start moved to {format_time(dataset.start)}, past rows of {format_time(first)}")
    if before.get("end") != after.get("end") and dataset.end is not None and dataset.end <= last:
        problems.append(f"end moved to {format_time(dataset.end)}, before rows of {format_time(last)}")
    return tuple(problems)


def _problems(known: Column | None, column: Column) -> list[str]:
    if known is None:
        return [] if column.nullable else [f"new column {column.name!r} must be nullable, since older rows have no value for it"]
    problems = []
    if not is_widening(known.type, column.type, from_text=known.origin == "inferred"):
        problems.append(f"column {column.name!r} can't go from {known.type} to {column.type} without losing values")
    if known.nullable and not column.nullable:
        problems.append(f"column {column.name!r} was nullable and must stay so")
    return problems
