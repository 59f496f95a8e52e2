"""Declarations compared: what a changed one means for rows that are there, and which one counts. No database is read here.

The file says sources and policies, the catalog says columns and keys. A process whose file is of before another's declaration is
*behind*: it is served by the catalog's columns and never writes them, so that files may be changed one process after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.schema import Column, Schema, schema_from_plain, schema_to_plain
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
    """`schema`: the next one, its version raised if `changes` is not empty. `problems`: why it has to be refused.

    `only_removes`: nothing but that declared columns are missing.
    """

    schema: Schema
    changes: tuple[SchemaChange, ...]
    problems: tuple[str, ...]
    only_removes: bool = False


def redeclare(current: Schema, declared: Schema) -> Redeclared:
    """Bring a declared schema and the one the catalog evolved together: declared order first, then what was inferred."""
    problems = [
        f"column {column.name!r} was removed"
        for column in current
        if column.origin == "declared" and declared.find(column.name) is None
    ]
    removed = len(problems)
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
        if known is not None and column.nullable and not known.nullable:
            relaxed = SchemaChange(kind="nullability_relaxed", column=column.name, before="required", after="nullable")
            changes.append(relaxed)
        columns.append(with_identity(column, known) if known else column)
    columns += [column for column in current if column.origin == "inferred" and declared.find(column.name) is None]
    schema = replace(current, columns=tuple(columns), version=current.version + bool(changes))
    only_removes = 0 < removed == len(problems) and not changes
    return Redeclared(schema=schema, changes=tuple(changes), problems=tuple(problems), only_removes=only_removes)


def with_identity(column: Column, known: Column) -> Column:
    """A declared column as the one that the catalog has under its name."""
    return replace(column, origin=known.origin, id=known.id, aliases=known.aliases, expression=known.expression)


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
    if known is None and column.default is not None:
        return [f"column {column.name!r} has a default, by which no row was filled yet"]
    if known is None:
        return [] if column.nullable else [f"new column {column.name!r} must be nullable, since older rows have no value for it"]
    problems = []
    if not is_widening(known.type, column.type, from_text=known.origin == "inferred"):
        problems.append(f"column {column.name!r} can't go from {known.type} to {column.type} without losing values")
    if known.nullable and not column.nullable:
        problems.append(f"column {column.name!r} was nullable and must stay so")
    if known.default != column.default:
        problems.append(_other_default(known, column))
    return problems


def _other_default(known: Column, column: Column) -> str:
    """Rows were filled by a default, some of them for good: another one would make older rows tell when they were built."""
    other = f"`transform: {{column: {column.name}, …}}` in a migration gives its rows other values"
    if known.default is not None:
        return f"rows without a value of column {column.name!r} were filled by `{known.default}`, which must stay; {other}"
    return f"column {column.name!r} is declared already, so its rows have what they have, and it gets no default; {other}"


_KEYS = ("time", "partition_by", "dedupe")
ColumnPart = Mapping[str, Any]
"""Of a declaration what it says about columns: themselves, the time, the keys and the order, as JSON values."""


def definition_of(dataset: Dataset) -> Mapping[str, Any]:
    """The declaration as the catalog gives it back; not to be changed."""
    try:
        return _remembered(dataset)
    except TypeError:  # a value in it can't be hashed
        return _definition(dataset)


def _definition(dataset: Dataset) -> Mapping[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataset.definition()))
    return plain


_remembered = lru_cache(maxsize=256)(_definition)


def column_part(definition: Mapping[str, Any]) -> ColumnPart:
    """The column part of a definition, without what is left at its default, so that versions of this package agree on it."""
    columns = schema_to_plain(schema_from_plain(definition["schema"]["columns"], version=1))
    keys = {key: definition[key] for key in _KEYS}
    return {"columns": json.loads(json.dumps(columns)), **keys, "sort_by": definition["segments"]["sort_by"]}


def digest_of(part: ColumnPart) -> str:
    """What tells one column part from another."""
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def combined(own: Mapping[str, Any], newest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition with the column part of another."""
    keys = {key: newest[key] for key in ("schema", *_KEYS)}
    return {**own, **keys, "segments": {**own["segments"], "sort_by": newest["segments"]["sort_by"]}}


def is_behind(own: ColumnPart, newest: ColumnPart, earlier: Iterable[ColumnPart]) -> bool:
    """Whether a declaration's columns are of before the newest; `earlier`: those of schema versions before that one."""
    return own != newest and own in list(earlier)


def effective(dataset: Dataset, record: DatasetRecord) -> Dataset:
    """The declared dataset with the columns and keys that the catalog has for it; the same value where they agree.

    `record`: of that dataset, read after the declaration was registered.
    """
    own, newest = definition_of(dataset), record.definition
    if own["schema"] == newest["schema"] and combined(own, newest) == own:
        return _identified(dataset, record)
    part = column_part(newest)
    if column_part(own) == part:
        return _identified(dataset, record)
    dedupe = part["dedupe"]
    served = replace(
        dataset,
        schema=schema_from_plain(part["columns"], version=1),
        time=part["time"],
        partition_by=tuple(part["partition_by"]),
        dedupe=None if dedupe is None else Dedupe(**{**dedupe, "keys": tuple(dedupe["keys"])}),
        segments=replace(dataset.segments, sort_by=tuple(part["sort_by"])),
        is_behind=True,
        renames=tuple(_followed(dict(dataset.renames), _names_since(dataset, record)).items()),
    )
    return _identified(served, record)


def _followed(names: Mapping[str, str], since: Mapping[str, str]) -> dict[str, str]:
    """Renames, and then others: new names by the first ones."""
    later = {first: since.get(name, name) for first, name in names.items()}
    return {**{name: now for name, now in since.items() if name not in names.values()}, **later}


def _names_since(dataset: Dataset, record: DatasetRecord) -> Mapping[str, str]:
    """What columns are called now, by the names that a declaration of before has for them; without those that kept theirs."""
    ids = record.earlier.get(digest_of(column_part(definition_of(dataset))), {}) if record.earlier else {}
    shown = {column.id: column.name for column in record.schema}
    return {name: shown[number] for name, number in ids.items() if shown.get(number, name) != name}


def _identified(dataset: Dataset, record: DatasetRecord) -> Dataset:
    """The dataset whose columns know what they were called before; itself where none was ever called otherwise."""
    if not record.schema.was_migrated:
        return dataset
    columns = (
        column
        if (of_name := record.schema.find(column.name)) is None
        else replace(column, id=of_name.id, aliases=of_name.aliases, expression=of_name.expression)
        for column in dataset.schema
    )
    known = record.schema
    schema = replace(
        dataset.schema, columns=tuple(columns), retired=known.retired, incoming=known.incoming, endings=known.endings
    )
    return replace(dataset, schema=schema)


def named_as_then(dataset: Dataset, now: Schema, then: Schema) -> Dataset:
    """A dataset with the names that its columns and keys had in another version of its schema; itself where they are the same.

    `now`: the version whose names it has. Columns that the other one lacks keep theirs.
    """
    names = renamed(now, then)
    if not names:
        return dataset
    return with_names(dataset, names)


def renamed(now: Schema, then: Schema) -> dict[str, str]:
    """Names of `then` by those of `now`, of columns that are called otherwise."""
    shown = {column.id: column.name for column in then if column.id}
    return {column.name: shown[column.id] for column in now if column.id in shown and shown[column.id] != column.name}


def with_names(dataset: Dataset, names: Mapping[str, str]) -> Dataset:
    """A dataset whose columns and keys are called otherwise. `names`: new ones by old ones."""

    def of(name: str) -> str:
        return names.get(name, name)

    dedupe = dataset.dedupe
    return replace(
        dataset,
        schema=replace(dataset.schema, columns=tuple(replace(one, name=of(one.name)) for one in dataset.schema)),
        time=of(dataset.time),
        partition_by=tuple(map(of, dataset.partition_by)),
        dedupe=dedupe and replace(dedupe, keys=tuple(map(of, dedupe.keys)), by=None if dedupe.by is None else of(dedupe.by)),
        segments=replace(dataset.segments, sort_by=tuple(map(of, dataset.segments.sort_by))),
    )


def differ_in_columns_only(one: Dataset, other: Dataset) -> bool:
    """Whether two values of a dataset are of the same sources and policies."""
    as_other = replace(
        one,
        schema=other.schema,
        time=other.time,
        partition_by=other.partition_by,
        dedupe=other.dedupe,
        segments=replace(one.segments, sort_by=other.segments.sort_by),
        is_behind=other.is_behind,
    )
    return as_other == other
