"""What operations make of a dataset's columns: a function of values, applied to a dry run's schema and again under the lock.

Columns, keys and order are held by id while it works, so that a rename reaches all that speaks of the column, and swaps and
chains are what they seem. Of renames that stand one behind the other only what comes of all of them counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import duckdb

from timestore_assets.catalog.schema_migrations import ColumnState, Migrated
from timestore_assets.migrating.column_draft import ColumnDraft, Computed
from timestore_assets.migrating.column_operations import do, rename
from timestore_assets.migrating.expressions_by_name import followed
from timestore_assets.migrating.migration_manifest import (
    MigrationManifest,
    Rename,
    Target,
)
from timestore_assets.model.schema import Column, Schema, default_of
from timestore_assets.model.types import ColumnType


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """`before`: what the operations were applied to. `notes`: what a person ought to know, a sentence each."""

    before: ColumnState
    migrated: Migrated
    computed: tuple[Computed, ...]
    dropped: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """The one that would be in force."""
        return self.migrated.state.schema


def apply(con: duckdb.DuckDBPyConnection, before: ColumnState, manifest: MigrationManifest) -> Applied:
    """Apply a manifest's operations, in order.

    `con`: whose parser and binder are used; no rows are read. Each column of `before` has an id.

    Raises:
        DeclarationError: an operation can't be meant or is not possible, with its place in the manifest.
    """
    if not manifest.operations and (manifest.incoming == "old" or before.schema.incoming is None):
        raise manifest.wrong("is empty, and records go by the present names already", at="operations")
    draft = ColumnDraft.of(con, before, manifest)
    numbered = list(enumerate(manifest.operations))
    for are_renames, run in groupby(numbered, key=lambda one: isinstance(one[1], Rename)):
        if are_renames:
            rename(draft, [(i, one) for i, one in run if isinstance(one, Rename)])
        else:
            for i, one in run:
                do(draft, i, one)
    applied = _result(draft)
    _check_target(manifest, applied.schema)
    return applied


def _result(draft: ColumnDraft) -> Applied:
    columns = {column.id: column for column in _without_stale_aliases(draft.shown)}
    in_order = (*draft.declared, *(one for one in columns if one not in draft.declared))
    before = draft.before.schema
    _follow_expressions(draft, columns)
    schema = Schema(
        columns=tuple(columns[one] for one in in_order),
        version=before.version + 1,
        retired=tuple(draft.retired),
        endings={**before.endings, **draft.endings},
        incoming=None if draft.incoming == "new" else before.incoming or (before.version if draft.incoming == "old" else None),
    )
    state = ColumnState(schema=schema, definition=_definition(draft, columns), last_column_id=draft.last)
    live = [one for one in draft.computed if one.column.id in columns]
    migrated = Migrated(
        state=state,
        changes=tuple(draft.changes),
        computed=tuple(columns[one.column.id].name for one in live),
        inverse=draft.inverse,
        archived=tuple(column.id for column in draft.archived),
        touched=frozenset(draft.touched),
    )
    return Applied(
        before=draft.before,
        migrated=migrated,
        computed=tuple(draft.computed),
        dropped=tuple(draft.dropped),
        notes=tuple(draft.notes),
    )


def _follow_expressions(draft: ColumnDraft, columns: dict[int, Column]) -> None:
    """Let declared expressions name columns as they are called now; one whose column is gone ends."""
    names, before, dataset = {one.id: one.name for one in columns.values()}, draft.before.schema, draft.manifest.dataset
    old = set(draft.original.values())
    for number, plain in draft.declared.items():
        if number not in old:
            continue
        draft.declared[number], gone = followed(draft.con, plain, before, names, dataset=dataset)
        columns[number] = replace(columns[number], default=default_of(draft.declared[number]))
        if gone:
            draft.notes.append(
                f"records of {columns[number].name!r} were computed from {gone!r}, which changes: from now on they have only "
                "what is sent, and older rows keep what they have"
            )


def _definition(draft: ColumnDraft, columns: dict[int, Column]) -> dict[str, Any]:
    """The definition with what the columns are called now."""
    before = draft.before.definition

    def now(names: Iterable[str]) -> list[str]:
        return [columns[draft.original[name]].name for name in names if draft.original[name] in columns]

    dedupe = before["dedupe"]
    if dedupe is not None:
        by = dedupe["by"] and now([dedupe["by"]])[0]
        dedupe = {**dedupe, "keys": now(dedupe["keys"]), "by": by}
    plain: dict[str, Any] = {
        **before,
        "schema": {**before["schema"], "columns": list(draft.declared.values())},
        "time": now([before["time"]])[0],
        "partition_by": now(before["partition_by"]),
        "dedupe": dedupe,
        "segments": {**before["segments"], "sort_by": _sort_by(draft, columns)},
    }
    made: dict[str, Any] = json.loads(json.dumps(plain))
    return made


def _sort_by(draft: ColumnDraft, columns: dict[int, Column]) -> list[str]:
    """Sort columns as they are called now: what took a column's place goes on in its place, what is dropped goes."""
    heirs = {one.source.id: one.column.id for one in draft.computed if one.source is not None}
    names = []
    for name in draft.before.definition["segments"]["sort_by"]:
        one: int | None = draft.original[name]
        while one is not None and one not in columns:
            one = heirs.get(one)
        if one is not None:
            names.append(columns[one].name)
    return names


def _without_stale_aliases(columns: Sequence[Column]) -> list[Column]:
    """The columns without former names that another one has now, or had more lately."""
    taken = {column.name for column in columns}
    found: list[Column] = []
    for column in sorted(columns, key=lambda one: one.id, reverse=True):
        kept = tuple(alias for alias in column.aliases if alias.name not in taken)
        taken.update(alias.name for alias in kept)
        found.append(replace(column, aliases=kept))
    by_id = {column.id: column for column in found}
    return [by_id[column.id] for column in columns]


def _check_target(manifest: MigrationManifest, schema: Schema) -> None:
    """Compare what comes of it with what was expected."""
    if manifest.target is None:
        return
    for column in schema:
        expected = manifest.target.get(column.name)
        if expected is None:
            raise manifest.wrong(f"does not name {column.name!r}, which there is afterwards as {column.type}", at="targetSchema")
        if (problem := _differs(column, expected)) is not None:
            raise manifest.wrong(problem, at=f"targetSchema.{column.name}")
    if missing := sorted(set(manifest.target) - set(schema.names)):
        raise manifest.wrong("names a column that there is not afterwards", at=f"targetSchema.{missing[0]}")


def _differs(column: Column, expected: Target) -> str | None:
    kinds: tuple[ColumnType, ColumnType] = expected.type, column.type
    if kinds[0] != kinds[1]:
        return f"is {kinds[0]}, and the operations make it {kinds[1]}"
    if expected.nullable is not None and expected.nullable != column.nullable:
        return f"is {'nullable' if expected.nullable else 'not nullable'}, and the operations make it otherwise"
    return None
