"""Versions of a dataset's schema: what they are, since when they are in force, and which declarations made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from timestore_assets.catalog import file_states, schema_events
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.effective_declaration import ColumnPart, digest_of
from timestore_assets.catalog.outbox import queue
from timestore_assets.catalog.tables import dataset_schemas, datasets
from timestore_assets.model.errors import ForgottenError
from timestore_assets.model.schema import Schema, identities_to_plain, schema_from_plain, schema_to_plain


def schema(connection: Connection, dataset_id: int, version: int) -> Schema:
    found = find_schema(connection, dataset_id, version)
    if found is None:
        raise ForgottenError(f"the catalog has no schema {version} of dataset {dataset_id}")
    return found


def find_schema(connection: Connection, dataset_id: int, version: int) -> Schema | None:
    h = dataset_schemas.c
    statement = select(h.columns, h.identities).where(h.dataset_id == dataset_id, h.version == version)
    found: Any = connection.execute(statement).one_or_none()
    return None if found is None else of_row(found, version)


def version_at(connection: Connection, dataset_id: int, manifest_version: int) -> int:
    """The schema version in force at a manifest version, which decides what a reader of it sees."""
    h = dataset_schemas.c
    in_force = select(func.max(h.version)).where(h.dataset_id == dataset_id, h.manifest_version <= manifest_version)
    version: int | None = connection.execute(in_force).scalar()
    return version or 1


def of_row(row: Row[Any], version: int) -> Schema:
    identities = None if row.identities is None else json.loads(row.identities)
    return schema_from_plain(json.loads(row.columns), version=version, identities=identities)


def add(
    connection: Connection,
    dataset: Row[Any],
    evolved: Schema,
    *,
    changes: Sequence[SchemaChange],
    manifest_version: int,
    cause: schema_events.Cause,
    declared: ColumnPart | None = None,
    definition: Mapping[str, Any] | None = None,
    actor: str,
    now: int,
) -> None:
    """Make `evolved` the dataset's current schema and tell the world.

    `manifest_version`: from which on it is in force. `cause`: what made it. `declared`: by what declaration, None for data alone.
    `definition`: the declaration that says who is told, None for the dataset's.
    """
    write(
        connection,
        dataset.id,
        evolved,
        changes=changes,
        manifest_version=manifest_version,
        cause=cause,
        declared=declared,
        actor=actor,
        now=now,
    )
    connection.execute(
        datasets.update().where(datasets.c.id == dataset.id).values(schema_version=evolved.version, updated_at=now)
    )
    payload = {
        "version": evolved.version,
        "changes": [change.plain() for change in changes],
        "actor": actor,
        "cause": schema_events.without_samples(cause),
        "manifest_version": manifest_version,
    }
    queue(connection, dataset.id, "schema_changed", payload, now=now)
    if cause["kind"] not in schema_events.OF_DATA:
        file_states.thaw(connection, dataset.id, now=now)
    channels = (definition or json.loads(dataset.definition)).get("evolution", {}).get("notify", ())
    schema_events.tell_channels(connection, dataset, channels, version=evolved.version, changes=changes, cause=cause, now=now)


def write(
    connection: Connection,
    dataset_id: int,
    schema: Schema,
    *,
    changes: Sequence[SchemaChange],
    manifest_version: int = 0,
    cause: schema_events.Cause | None = None,
    declared: ColumnPart | None = None,
    actor: str,
    now: int,
) -> None:
    schema = _identified(connection, dataset_id, schema)
    connection.execute(
        dataset_schemas.insert(),
        {
            "dataset_id": dataset_id,
            "version": schema.version,
            "columns": _json(schema_to_plain(schema)),
            "identities": _json(identities_to_plain(schema)),
            "manifest_version": manifest_version,
            "changes": _json([change.plain() for change in changes]),
            "cause": None if cause is None else _json(cause),
            "actor": actor,
            "created_at": now,
            "declared": None if declared is None else _json([declared]),
        },
    )


def _identified(connection: Connection, dataset_id: int, schema: Schema) -> Schema:
    """The schema with an id for each column: that of the newest column of its name which is still shown, else a new one.

    A version that a process of before there were ids has written has none.
    """
    if all(column.id for column in schema):
        return schema
    last: int = connection.execute(select(datasets.c.last_column_id).where(datasets.c.id == dataset_id)).scalar_one()
    h = dataset_schemas.c
    newest = select(h.identities).where(h.dataset_id == dataset_id, h.identities.is_not(None)).order_by(h.version.desc()).limit(1)
    known = json.loads(connection.execute(newest).scalar() or "{}")
    ids: dict[str, int] = {name: one["id"] for name, one in known.get("columns", {}).items()}
    columns = []
    for column in schema:
        column_id = column.id or ids.get(column.name)
        if column_id is None:
            column_id = last = last + 1
        columns.append(replace(column, id=column_id))
    connection.execute(datasets.update().where(datasets.c.id == dataset_id).values(last_column_id=last))
    return replace(schema, columns=tuple(columns))


def identified(connection: Connection, dataset_id: int, schema: Schema) -> Schema:
    """The dataset's current schema, each of its columns with an id, which those of older processes lack."""
    if not all(column.id for column in schema):
        schema = _identified(connection, dataset_id, schema)
        rewrite(connection, dataset_id, schema)
    return schema


def rewrite(connection: Connection, dataset_id: int, schema: Schema) -> None:
    schema = _identified(connection, dataset_id, schema)
    # descriptions, units, checks or order: nothing a segment depends on, so the version stays
    connection.execute(
        dataset_schemas.update()
        .where(dataset_schemas.c.dataset_id == dataset_id, dataset_schemas.c.version == schema.version)
        .values(columns=_json(schema_to_plain(schema)), identities=_json(identities_to_plain(schema)))
    )


def parts_of(connection: Connection, dataset_id: int) -> dict[int, list[ColumnPart]]:
    """Column parts that were declared, by the schema version that they made or that was theirs already."""
    c = dataset_schemas.c
    rows = connection.execute(select(c.version, c.declared).where(c.dataset_id == dataset_id, c.declared.is_not(None)))
    return {row.version: json.loads(row.declared) for row in rows}


def remember_former(connection: Connection, row: Row[Any], own: ColumnPart, former: ColumnPart, *, raised: bool) -> None:
    """Keep what was declared until now with its schema version; a catalog of before this was kept learns it here.

    A change that makes no new version counts as of the same one, so that a check or a description can be taken back.
    """
    parts = parts_of(connection, row.id)
    newest = max(parts, default=row.schema_version)
    known = parts.get(newest, [])
    kept = known if former in known else [*known, former]
    if not raised:
        kept = [*(one for one in kept if one != own), own]
    if kept != known:
        rewrite_parts(connection, row.id, newest, kept)


def rewrite_parts(connection: Connection, dataset_id: int, version: int | None, parts: Sequence[ColumnPart] | None) -> None:
    """Set the column parts of a schema version, of all when it is None."""
    c = dataset_schemas.c
    which = c.dataset_id == dataset_id if version is None else and_(c.dataset_id == dataset_id, c.version == version)
    connection.execute(dataset_schemas.update().where(which).values(declared=None if parts is None else _json(parts)))


def earlier_names(connection: Connection, dataset_id: int) -> dict[str, dict[str, int]]:
    """See `DatasetRecord.earlier`."""
    h = dataset_schemas.c
    declared = h.dataset_id == dataset_id, h.declared.is_not(None), h.identities.is_not(None)
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(select(h.declared, h.identities).where(*declared).order_by(h.version)):
        ids = {name: one["id"] for name, one in json.loads(row.identities).get("columns", {}).items()}
        found |= {digest_of(part): ids for part in json.loads(row.declared)}
    return found


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
