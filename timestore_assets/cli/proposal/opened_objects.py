"""Records whose values are inside objects or structs, laid out as columns for a look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.model.field_path import Step

_DEEPEST = 4
_MOST = 200
Steps = tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedDocuments:
    """`fields`: by column that is inside an object, where it is. `objects`: the keys of those objects."""

    documents: list[dict[str, Any]]
    fields: Mapping[str, Steps]
    objects: tuple[str, ...]


def open_documents(documents: Sequence[dict[str, Any]]) -> OpenedDocuments | None:
    """The members of all objects inside the documents as members of the documents; None when there are none."""
    found = dict.fromkeys(steps for document in documents for steps in _leaves(document, ()))
    names = _named(found)
    fields = {name: steps for steps, name in names.items() if len(steps) > 1}
    if not fields or len(names) > _MOST:
        return None
    flat = [{name: _at(document, steps) for steps, name in names.items()} for document in documents]
    return OpenedDocuments(documents=flat, fields=fields, objects=_roots(fields))


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedTable:
    """As `OpenedDocuments`."""

    table: pa.Table
    fields: Mapping[str, Steps]
    objects: tuple[str, ...]


def open_table(table: pa.Table) -> OpenedTable | None:
    """The members of structs as columns; None when there are none."""
    columns: dict[Steps, pa.ChunkedArray[Any]] = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        columns.update(_members((name,), values))
    names = _named(columns)
    fields = {name: steps for steps, name in names.items() if len(steps) > 1}
    if not fields or len(names) > _MOST:
        return None
    flat = pa.table({name: columns[steps] for steps, name in names.items()})
    return OpenedTable(table=flat, fields=fields, objects=_roots(fields))


def _members(steps: Steps, values: pa.ChunkedArray[Any]) -> Iterable[tuple[Steps, pa.ChunkedArray[Any]]]:
    if not pa.types.is_struct(values.type) or len(steps) > _DEEPEST:
        return [(steps, values)]
    names = [field.name for field in values.type]
    if len(set(names)) < len(names):
        return [(steps, values)]
    return [one for place, name in enumerate(names) for one in _members((*steps, name), pc.struct_field(values, [place]))]


def _leaves(value: dict[str, Any], above: Steps) -> Iterable[Steps]:
    for name, member in value.items():
        if isinstance(member, dict) and member and len(above) < _DEEPEST:
            yield from _leaves(member, (*above, name))
        else:
            yield (*above, name)


def _at(document: Any, steps: Steps) -> Any:
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _named(found: Iterable[Steps]) -> dict[Steps, str]:
    """Names of columns: those of the last members, or of the whole way where these are not enough.

    What is null here and an object there counts as the object.
    """
    ways = list(found)
    inner = {steps[:end] for steps in ways for end in range(1, len(steps))}
    ways = [steps for steps in ways if steps not in inner]
    last = [str(steps[-1]).casefold() for steps in ways]
    taken = {str(steps[0]).casefold() for steps in [*ways, *inner] if len(steps) == 1}
    names: dict[Steps, str] = {}
    for steps in ways:
        name = str(steps[-1])
        alone = last.count(name.casefold()) == 1 and name.casefold() not in taken
        names[steps] = name if len(steps) == 1 or alone else "_".join(map(str, steps))
    return names if len({name.casefold() for name in names.values()}) == len(names) else {}


def _roots(fields: Mapping[str, Steps]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(steps[0]) for steps in fields.values()))
