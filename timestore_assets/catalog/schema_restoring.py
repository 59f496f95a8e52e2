"""Taking migrations back: the columns of an earlier schema version in force again, by their ids, as a new version.

Rows that were stored by then have those columns still. Rows written since may lack them: they are computed by what the migration
named as its inverse.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import datasets, manifest, older_processes, schema_versions
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.restored_columns import is_computed, recomputed
from timestore_assets.catalog.schema_migrations import (
    ColumnState,
    Migrated,
    MigrationRecord,
    Redeclare,
    locked_declaration,
    records,
    rewrite_declaration,
    state_of,
    write_version,
)
from timestore_assets.catalog.tables import dataset_schemas, migrations, segments
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.schema import Column, Ending, FormerName, Schema


class SchemaRestores:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def plan(self, dataset_id: int, schema_version: int, *, may_null: bool = False) -> Sequence[SchemaChange]:
        """What `restore` would change; nothing is. Errors as there."""

        def work(connection: Connection, now: int) -> Sequence[SchemaChange]:
            # ids that columns of older processes lack are given them here, too
            row = datasets.lock(connection, dataset_id)
            _require_earlier(row, schema_version)
            older_processes.require_none(connection, f"the columns of dataset {row.name!r} are not changed", now=now)
            return restoring(connection, row, schema_version, may_null=may_null)[1].changes

        return self._database.timed(work)

    def restore(
        self,
        dataset_id: int,
        schema_version: int,
        *,
        may_null: bool = False,
        redeclare: Redeclare | None = None,
        ticket: str = "",
        approved_by: str = "",
        actor: str,
    ) -> MigrationRecord:
        """Put the columns of an earlier schema version in force again; see `restored`.

        Raises:
            InputError: there is no such version. RefusedError: as `restored`.
        """

        def work(connection: Connection, now: int) -> MigrationRecord:
            row = datasets.lock(connection, dataset_id)
            _require_earlier(row, schema_version)
            options: dict[str, Any] = {"may_null": may_null, "redeclare": redeclare, "ticket": ticket, "approved_by": approved_by}
            restored(connection, row, schema_version, **options, actor=actor, now=now)
            return records(connection, dataset_id)[0]

        seen = self._progress.seen
        done = self._database.timed(work, repeatable=False)
        self._progress.note(dataset_id, done.manifest_version, seen)
        return done


def _require_earlier(row: Row[Any], schema_version: int) -> None:
    if not 1 <= schema_version < row.schema_version:
        raise InputError(f"dataset {row.name!r} has no schema version {schema_version} before {row.schema_version}")


def restored(
    connection: Connection,
    row: Row[Any],
    schema_version: int,
    *,
    may_null: bool = False,
    version: int | None = None,
    redeclare: Redeclare | None = None,
    ticket: str = "",
    approved_by: str = "",
    actor: str,
    now: int,
) -> int:
    """Put the columns of an earlier schema version in force again, by their ids, as a new one; the new schema version.

    The dataset's row is locked.

    Args:
        may_null: nullable columns may be NULL in rows that have nothing for them.
        version: manifest version that the transaction has made already; the next one when it is None.
        redeclare: brings along what was declared over HTTP, see `migrating.declaration_changes.redeclared`.

    Raises:
        RefusedError: rows that landed since have no value for a column, and nothing says how to compute one.
    """
    before, migrated = restoring(connection, row, schema_version, may_null=may_null)
    details = {"ticket": ticket, "approved_by": approved_by, "restores": schema_version}
    reason = f"columns are those of schema version {schema_version} again"
    write_version(
        connection, row, before, migrated, kind="rollback", reason=reason, details=details, version=version, actor=actor, now=now
    )
    if redeclare is not None and (declared := locked_declaration(connection, row.id)) is not None:
        rewrite_declaration(connection, declared, redeclare, before, migrated.state, actor=actor, now=now)
    made = migrated.state.schema.version
    values = {
        "dataset_id": row.id,
        "schema_version": made,
        "kind": "rollback",
        "manifest": json.dumps({"restores": schema_version}),
        "digest": "",
        "ticket": ticket,
        "approved_by": approved_by,
        "actor": actor,
        "at": now,
    }
    connection.execute(migrations.insert(), values)
    return made


def restoring(connection: Connection, row: Row[Any], schema_version: int, *, may_null: bool) -> tuple[ColumnState, Migrated]:
    """The columns as they are, and what putting those of an earlier version in force again makes of them; see `restored`."""
    current = schema_versions.identified(connection, row.id, schema_versions.schema(connection, row.id, row.schema_version))
    wanted = schema_versions.schema(connection, row.id, schema_version)
    before = state_of(row, current)
    schema = restorable(connection, row, current, wanted, _live_versions(connection, row.id), may_null=may_null)
    definition = _with_part(before.definition, _part_at(connection, row.id, schema_version))
    state = ColumnState(schema=schema, definition=definition, last_column_id=before.last_column_id)
    return before, Migrated(state=state, changes=_differences(current, schema))


def restorable(
    connection: Connection, row: Row[Any], current: Schema, wanted: Schema, written: Collection[int], *, may_null: bool
) -> Schema:
    """The columns of an earlier schema as they are to be read again, as the version after this; RefusedError as `restored`.

    `written`: schema versions of the segments that will be live.
    """
    later = [schema_versions.schema(connection, row.id, one) for one in sorted(written) if one > wanted.version]
    found = recomputed(wanted, current, later, _inverses(connection, row.id))
    columns = tuple(_with_alias(found.pop(column.id, column), current) for column in wanted)
    every = {column.id: column for column in columns} | found
    for column in columns:
        if not (may_null and column.nullable) and not all(is_computed(column, every, one) for one in later):
            raise _nothing_for(column, row.name)
    gone = tuple(found.pop(one.id) for one in (*current, *current.retired) if one.id in found)
    version = current.version + 1
    endings = {one.id: current.endings.get(one.id, Ending(version=version)) for one in gone}
    return Schema(columns=columns, version=version, retired=gone, incoming=wanted.incoming, endings=endings)


def _nothing_for(column: Column, dataset: str) -> RefusedError:
    way = "say --nulls to have none there" if column.nullable else "and it is not nullable"
    return RefusedError(
        f"rows of dataset {dataset!r} that were written since have no {column.name!r}, and the migration named no `inverse:` for "
        f"it; {way}, or take back what landed too, with `timestore rollback … --and-landings`"
    )


def _with_alias(column: Column, current: Schema) -> Column:
    """A column that goes on to be accepted under the name that it had until now."""
    known = next((one for one in current if one.id == column.id), column)
    if known.name == column.name or known.name in {alias.name for alias in column.aliases}:
        return column
    return replace(column, aliases=(*column.aliases, FormerName(name=known.name)))


def _differences(before: Schema, after: Schema) -> tuple[SchemaChange, ...]:
    """What other columns with the same ids, or without them, come to."""
    changes: list[SchemaChange] = []
    for column in after:
        known = next((one for one in before if one.id == column.id), None)
        if known is None:
            changes.append(SchemaChange(kind="column_restored", column=column.name, before=None, after=str(column.type)))
        elif known.name != column.name:
            changes.append(SchemaChange(kind="column_renamed", column=column.name, before=known.name, after=column.name))
        elif known.type != column.type:
            change = SchemaChange(kind="column_transformed", column=column.name, before=str(known.type), after=str(column.type))
            changes.append(change)
    shown = {column.id for column in after}
    changes += [
        SchemaChange(kind="column_dropped", column=column.name, before=str(column.type), after=None)
        for column in before
        if column.id not in shown
    ]
    return tuple(changes)


def _with_part(definition: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with the columns, keys and order of another."""
    keys = {key: part[key] for key in ("time", "partition_by", "dedupe")}
    columns = {**definition["schema"], "columns": part["columns"]}
    return {**definition, **keys, "schema": columns, "segments": {**definition["segments"], "sort_by": part["sort_by"]}}


def _part_at(connection: Connection, dataset_id: int, version: int) -> Mapping[str, Any]:
    """What was declared of the columns when a schema version was in force."""
    h = dataset_schemas.c
    said = (
        select(h.declared)
        .where(h.dataset_id == dataset_id, h.version <= version, h.declared.is_not(None))
        .order_by(h.version.desc())
        .limit(1)
    )
    found = connection.execute(said).scalar()
    if found is None:
        raise RefusedError(f"the catalog does not know what was declared at schema version {version}; restore a later one")
    newest: Mapping[str, Any] = json.loads(found)[-1]
    return newest


def _live_versions(connection: Connection, dataset_id: int) -> set[int]:
    c = segments.c
    statement = select(c.schema_version).distinct().where(c.dataset_id == dataset_id, manifest.live(None))
    return set(connection.execute(statement).scalars())


def _inverses(connection: Connection, dataset_id: int) -> dict[int, str]:
    """What migrations said about how to compute columns that they retired, by their ids."""
    statement = select(migrations.c.manifest).where(migrations.c.dataset_id == dataset_id).order_by(migrations.c.schema_version)
    found: dict[int, str] = {}
    for text in connection.execute(statement).scalars():
        found.update({int(column_id): sql for column_id, sql in json.loads(text).get("inverse", {}).items()})
    return found
