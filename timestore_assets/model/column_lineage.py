"""Where the values of a dataset's columns come from: fields of its sources, and columns that expressions read.

Pure: Dagster's metadata and OpenLineage's facets are made of what `column_lineage` gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from timestore_assets.model.dataset import Dataset, FileSource, Source
from timestore_assets.model.field_path import FieldPath
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import quote

_REFERENCE = re.compile(r'"#([0-9]+)"')
"""A column in an expression, by its id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceField:
    """A field of the records of one source."""

    source: Source
    field: str
    """Its name, or its path as a declaration writes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnOrigin:
    """What one column's values are made of."""

    fields: tuple[SourceField, ...] = ()
    """Of each source; a source that names no field for the column may send it under the column's name, or a former one."""
    columns: tuple[str, ...] = ()
    """Shown columns of the dataset that its expression reads."""
    expression: str | None = None
    """The expression, with the names that its columns have now."""


def column_lineage(dataset: Dataset, schema: Schema) -> Mapping[str, ColumnOrigin]:
    """The origin of each column of a schema, by name.

    An expression that reads a column which is shown no more has that one's fields and columns in its place.
    """
    return {column.name: _origin(dataset, schema, column) for column in schema}


def _origin(dataset: Dataset, schema: Schema, column: Column) -> ColumnOrigin:
    fields = dict.fromkeys(_sent(dataset, column))
    columns: dict[str, None] = {}
    shown = {one.id for one in schema}
    left, seen = _referenced(schema, column), {column.id}
    while left:
        one = left.pop(0)
        if one.id in seen:
            continue
        seen.add(one.id)
        if one.id in shown:
            columns[one.name] = None
        else:
            fields |= dict.fromkeys(_sent(dataset, one))
            left += _referenced(schema, one)
    return ColumnOrigin(fields=tuple(fields), columns=tuple(columns), expression=_named(schema, column))


def _sent(dataset: Dataset, column: Column) -> Iterator[SourceField]:
    """The fields that each source gives for a column."""
    for source in dataset.sources:
        for field in _fields(source, column):
            yield SourceField(source=source, field=field)


def _fields(source: Source, column: Column) -> tuple[str, ...]:
    form = source.form
    time = form.time_of(column.name)
    named = tuple(_text(form.fields, name) or name for name in time.columns) if time is not None else ()
    if named:
        return named
    if isinstance(source, FileSource) and source.path_columns != "hive" and column.name in source.path_columns:
        return (column.name,)
    path = _text(form.fields, column.name)
    return (path,) if path is not None else (column.name, *(former.name for former in column.aliases))


def _text(paths: tuple[FieldPath, ...], column: str) -> str | None:
    return next((path.text for path in paths if path.column == column), None)


def _referenced(schema: Schema, column: Column) -> list[Column]:
    found = (schema.by_id(int(number)) for number in _REFERENCE.findall(column.expression or ""))
    return [one for one in found if one is not None]


def _named(schema: Schema, column: Column) -> str | None:
    if column.expression is None:
        return None

    def name(match: re.Match[str]) -> str:
        one = schema.by_id(int(match[1]))
        return match[0] if one is None else quote(one.name)

    return _REFERENCE.sub(name, column.expression)
