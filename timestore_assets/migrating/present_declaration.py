"""What a declaration says of columns, as the catalog has them: for the file of a dataset that is behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timestore_assets.catalog.effective_declaration import column_part
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.migrating.declaration_changes import attributes_of, line_of, on_one_line
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, schema_from_plain


def present_attributes(record: DatasetRecord, served: Dataset | None, *, found: bool = False) -> dict[str, Any]:
    """The attributes of a declaration that speak of columns, which declare those that the catalog has.

    Args:
        served: the dataset, whose sources say where records have values, by what columns are called now.
        found: with the columns that were found in the data.
    """
    part = column_part(record.definition)
    columns = list(schema_from_plain(list(part["columns"]), version=1))
    names = {column.name for column in columns}
    columns += [column for column in record.schema if found and column.name not in names]
    places = _places(served)
    attributes: dict[str, Any] = {
        "columns": {column.name: _said(column, places.get(column.name)) for column in columns},
        "time": part["time"],
    }
    if part["partition_by"]:
        attributes["partition_by"] = list(part["partition_by"])
    if part["dedupe"]:
        attributes["dedupe"] = {key: value for key, value in part["dedupe"].items() if value is not None}
    if part["sort_by"]:
        attributes["segments"] = {"sort_by": list(part["sort_by"])}
    return attributes


def present_lines(attributes: Mapping[str, Any]) -> list[str]:
    """The same as YAML, a line for each column."""
    columns = [line_of(name, said) for name, said in attributes["columns"].items()]
    return ["columns:", *columns, *(f"{key}: {on_one_line(one)}" for key, one in attributes.items() if key != "columns")]


def _said(column: Column, place: str | None) -> str | dict[str, Any]:
    said = attributes_of(column)
    if place is not None:
        said["from"] = place
    kind: str = said["type"]
    return kind if list(said) == ["type"] else said


def _places(served: Dataset | None) -> dict[str, str]:
    """Where records have the values of columns, as far as all sources agree on that."""
    if served is None or not served.sources:
        return {}
    each = [{path.column: path.text for path in served.form_of(source).fields} for source in served.sources]
    return {name: text for name, text in each[0].items() if all(one.get(name) == text for one in each)}
