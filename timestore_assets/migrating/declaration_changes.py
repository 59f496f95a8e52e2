"""What a migration means for declarations: one that was sent over HTTP is rewritten, for a file there are lines to write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from timestore_assets.catalog.effective_declaration import column_part, definition_of
from timestore_assets.catalog.schema_migrations import ColumnState
from timestore_assets.declaration.from_yaml import dataset_from_attributes
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.schema import Column, column_to_plain, schema_from_plain

_BY_COLUMN = ("times", "fields")
"""Keys of a source whose mappings name columns."""
_KEYS = ("time", "partition_by", "dedupe")
_DEFAULTS = ("default", "expression")


def redeclared(attributes: Mapping[str, Any], before: ColumnState, after: ColumnState) -> dict[str, Any]:
    """Attributes that declare the columns after a migration, from those that declared them before.

    Raises:
        RefusedError: they would not declare exactly these columns, so that they would have to be sent anew.
    """
    new_names = {column.name: name for column in before.schema if (name := _name_of(column.id, after)) is not None}
    definition = after.definition
    changed: dict[str, Any] = {**attributes, "columns": _columns(attributes.get("columns") or {}, new_names, after)}
    changed["time"] = definition["time"]
    if "partition_by" in attributes:
        changed["partition_by"] = definition["partition_by"]
    if attributes.get("dedupe"):
        declared = definition["dedupe"]
        changed["dedupe"] = {**attributes["dedupe"], "keys": declared["keys"]} | (
            {"by": declared["by"]} if declared["by"] else {}
        )
    if "sort_by" in (attributes.get("segments") or {}):
        changed["segments"] = {**attributes["segments"], "sort_by": definition["segments"]["sort_by"]}
    if "sources" in attributes:
        names = {column.name for column in after.schema}
        changed["sources"] = [_source(source, new_names, names) for source in attributes["sources"]]
    _check(changed, definition)
    return changed


def _name_of(column_id: int, after: ColumnState) -> str | None:
    return next((column.name for column in after.schema if column.id == column_id), None)


def _columns(attributes: Mapping[str, Any], new_names: Mapping[str, str], after: ColumnState) -> dict[str, Any]:
    said = {new_names[name]: one for name, one in attributes.items() if name in new_names}
    found: dict[str, Any] = {}
    for column in schema_from_plain(after.definition["schema"]["columns"], version=1):
        known = said.get(column.name)
        place = attributes.get(column.name)
        if known is None:
            found[column.name] = attributes_of(column)
            if isinstance(place, Mapping) and "from" in place and column.name not in new_names:
                found[column.name]["from"] = place["from"]
        elif isinstance(known, str):
            found[column.name] = str(column.type)
        else:
            # an expression names columns, and goes with one that it named
            said_otherwise = {key: one for key, one in known.items() if key not in _DEFAULTS}
            default = {key: one for key, one in attributes_of(column).items() if key in _DEFAULTS}
            found[column.name] = {**said_otherwise, "type": str(column.type), **default}
    return found


def attributes_of(column: Column) -> dict[str, Any]:
    """A column as a declaration says it."""
    plain: dict[str, Any] = json.loads(json.dumps(column_to_plain(column)))
    checks = plain.pop("checks", {})
    default = {"default" if key == "value" else key: one for key, one in plain.pop("default", {}).items()}
    return {key: value for key, value in {**plain, **checks, **default}.items() if key not in ("name", "origin")}


def _source(source: Any, new_names: Mapping[str, str], names: set[str]) -> Any:
    """A source's attributes with the columns' new names; what is said of columns that are gone goes."""
    if isinstance(source, list):
        return [_source(one, new_names, names) for one in source]
    if not isinstance(source, Mapping):
        return source
    return {
        key: _renamed(one, new_names, names) if key in _BY_COLUMN and isinstance(one, Mapping) else _source(one, new_names, names)
        for key, one in source.items()
    }


def _renamed(mapping: Mapping[str, Any], new_names: Mapping[str, str], names: set[str]) -> dict[str, Any]:
    return {name: one for column, one in mapping.items() if (name := new_names.get(column, column)) in names}


def _check(attributes: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    try:
        declared = column_part(definition_of(dataset_from_attributes(attributes)))
    except InputError as error:
        raise RefusedError(
            f"what was declared over HTTP can't be brought along ({error}); declare it anew, then migrate"
        ) from None
    if declared != column_part(definition):
        raise RefusedError("what was declared over HTTP is not what the catalog has; declare it anew, then migrate")


def lines_to_write(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lines of YAML for the declaration file of a dataset: what is different there after a migration, of two definitions."""
    then, now = ({one["name"]: one for one in definition["schema"]["columns"]} for definition in (before, after))
    lines: list[str] = []
    columns = [_line(one) for name, one in now.items() if then.get(name) != one]
    gone = [f"  # without {name}" for name in then if name not in now]
    if columns or gone:
        lines += ["columns:", *columns, *gone]
    for key in _KEYS:
        if before[key] != after[key]:
            lines.append(f"{key}: {on_one_line(after[key])}")
    if before["segments"]["sort_by"] != after["segments"]["sort_by"]:
        lines.append(f"segments: {{sort_by: {on_one_line(after['segments']['sort_by'])}}}")
    return lines


def _line(plain: Mapping[str, Any]) -> str:
    (column,) = schema_from_plain([dict(plain)], version=1)
    said = attributes_of(column)
    return line_of(column.name, said["type"] if list(said) == ["type"] else said)


def line_of(name: str, said: Any) -> str:
    """The line of a column below `columns:`."""
    return f"  {on_one_line(name)}: {on_one_line(said)}"


def on_one_line(value: Any) -> str:
    """A value on one line of YAML."""
    import yaml

    if isinstance(value, Mapping):
        value = {key: one for key, one in value.items() if one is not None}
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
