"""Registered datasets and the history of their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from timestore_assets.catalog import sources
from timestore_assets.catalog.audit import record
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.outbox import queue
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.records import DatasetRecord, SchemaChange
from timestore_assets.catalog.redeclaration import Redeclared, fixed_problems, redeclare
from timestore_assets.catalog.tables import dataset_schemas, datasets, policies, segments
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.definition import schema_from_plain, schema_to_plain
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.schema import Schema
from timestore_assets.model.window import format_time


def find(connection: Connection, name: str) -> DatasetRecord | None:
    row = connection.execute(_with_schema().where(datasets.c.name == name)).one_or_none()
    return None if row is None else _record(row)


def listed(connection: Connection) -> list[DatasetRecord]:
    return [_record(row) for row in connection.execute(_with_schema().order_by(datasets.c.name))]


def lock(connection: Connection, dataset_id: int) -> Row[Any]:
    """The dataset's row, held until the transaction ends. Every change below a dataset begins here, so none deadlocks."""
    row = connection.execute(select(datasets).where(datasets.c.id == dataset_id).with_for_update()).one_or_none()
    if row is None:
        raise KeyError(f"dataset {dataset_id}")
    return row


def manifest_version(connection: Connection, dataset_id: int) -> int:
    version: int | None = connection.execute(select(datasets.c.manifest_version).where(datasets.c.id == dataset_id)).scalar()
    if version is None:
        raise KeyError(f"dataset {dataset_id}")
    return version


def schema(connection: Connection, dataset_id: int, version: int) -> Schema:
    found = find_schema(connection, dataset_id, version)
    if found is None:
        raise KeyError(f"schema {version} of dataset {dataset_id}")
    return found


def find_schema(connection: Connection, dataset_id: int, version: int) -> Schema | None:
    columns = connection.execute(
        select(dataset_schemas.c.columns).where(dataset_schemas.c.dataset_id == dataset_id, dataset_schemas.c.version == version)
    ).scalar()
    return None if columns is None else schema_from_plain(json.loads(columns), version=version)


def schema_history(connection: Connection, dataset_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(dataset_schemas).where(dataset_schemas.c.dataset_id == dataset_id).order_by(dataset_schemas.c.version.desc())
    )
    return [
        {
            "version": row.version,
            "created_at": format_time(from_micros(row.created_at)),
            "actor": row.actor,
            "changes": json.loads(row.changes),
            "columns": json.loads(row.columns),
        }
        for row in rows
    ]


def unchanged(connection: Connection, dataset: Dataset) -> DatasetRecord | None:
    """The record when it already has exactly this declaration."""
    found = find(connection, dataset.name)
    return found if found is not None and found.definition == _definition(dataset) else None


def register(connection: Connection, dataset: Dataset, *, actor: str, now: int) -> DatasetRecord:
    """Insert or update a declaration, see `Catalog.register`."""
    inserted = insert_ignore(
        connection,
        datasets,
        {
            "name": dataset.name,
            "window": dataset.window.value,
            "storage": dataset.storage,
            "definition": _json(_definition(dataset)),
            "manifest_version": 0,
            "schema_version": 1,
            "collected_version": 0,
            "created_at": now,
            "updated_at": now,
        },
    )
    row = connection.execute(select(datasets).where(datasets.c.name == dataset.name).with_for_update()).one()
    if inserted:
        write_schema(connection, row.id, Schema(columns=dataset.schema.columns), changes=(), actor=actor, now=now)
        record(connection, row.id, actor=actor, action="dataset_registered", details={"dataset": dataset.name}, now=now)
    elif json.loads(row.definition) != _definition(dataset):
        _update(connection, row, dataset, actor=actor, now=now)
    for source in dataset.sources:
        sources.ensure(connection, row.id, source.kind, source.address)
    return _record(connection.execute(_with_schema().where(datasets.c.id == row.id)).one())


def add_schema_version(
    connection: Connection, dataset: Row[Any], evolved: Schema, *, changes: Sequence[SchemaChange], actor: str, now: int
) -> None:
    """Make `evolved` the dataset's current schema and tell the world."""
    write_schema(connection, dataset.id, evolved, changes=changes, actor=actor, now=now)
    connection.execute(
        datasets.update().where(datasets.c.id == dataset.id).values(schema_version=evolved.version, updated_at=now)
    )
    payload = {"version": evolved.version, "changes": [asdict(change) for change in changes], "actor": actor}
    queue(connection, dataset.id, "schema_changed", payload, now=now)


def write_schema(
    connection: Connection, dataset_id: int, schema: Schema, *, changes: Sequence[SchemaChange], actor: str, now: int
) -> None:
    connection.execute(
        dataset_schemas.insert(),
        {
            "dataset_id": dataset_id,
            "version": schema.version,
            "columns": _json(schema_to_plain(schema)),
            "changes": _json([asdict(change) for change in changes]),
            "actor": actor,
            "created_at": now,
        },
    )


def _update(connection: Connection, row: Row[Any], dataset: Dataset, *, actor: str, now: int) -> None:
    before = json.loads(row.definition)
    after = _definition(dataset)
    current = schema(connection, row.id, row.schema_version)
    next_schema = redeclare(current, dataset.schema)
    first, last = connection.execute(
        select(func.min(segments.c.min_time), func.max(segments.c.max_time)).where(segments.c.dataset_id == row.id)
    ).one()
    if first is not None:
        times = {"first": from_micros(first), "last": from_micros(last)}
        problems = (*next_schema.problems, *fixed_problems(before, dataset, after, **times))
        if problems:
            raise RefusedError(
                f"dataset {dataset.name!r} already has rows, so its declaration can't change like this: "
                f"{'; '.join(problems)}. Undo that, or declare a dataset of another name"
            )
    elif next_schema.problems:
        # nothing was written by the old one, so the new declaration simply takes its place
        fresh = Schema(columns=dataset.schema.columns, version=current.version + 1)
        next_schema = Redeclared(schema=fresh, changes=(), problems=())
    if next_schema.schema.version != current.version:
        add_schema_version(connection, row, next_schema.schema, changes=next_schema.changes, actor=actor, now=now)
    elif next_schema.schema != current:
        _rewrite_schema(connection, row.id, next_schema.schema)
    connection.execute(
        datasets.update()
        .where(datasets.c.id == row.id)
        .values(definition=_json(after), window=dataset.window.value, storage=dataset.storage, updated_at=now)
    )
    changed = sorted(key for key in after if after[key] != before.get(key))
    details = {"changed": changed, "schema_version": next_schema.schema.version}
    record(connection, row.id, actor=actor, action="dataset_changed", details=details, now=now)


def _rewrite_schema(connection: Connection, dataset_id: int, schema: Schema) -> None:
    # descriptions, units, checks or order: nothing a segment depends on, so the version stays
    connection.execute(
        dataset_schemas.update()
        .where(dataset_schemas.c.dataset_id == dataset_id, dataset_schemas.c.version == schema.version)
        .values(columns=_json(schema_to_plain(schema)))
    )


def _with_schema() -> Select[Any]:
    same = (dataset_schemas.c.dataset_id == datasets.c.id) & (dataset_schemas.c.version == datasets.c.schema_version)
    moved = (policies.c.dataset_id == datasets.c.id) & (policies.c.kind == "storage_target")
    chosen = select(datasets, dataset_schemas.c.columns, policies.c.value.label("moved_to"))
    return chosen.join(dataset_schemas, same).outerjoin(policies, moved)


def _record(row: Row[Any]) -> DatasetRecord:
    return DatasetRecord(
        id=row.id,
        name=row.name,
        manifest_version=row.manifest_version,
        schema=schema_from_plain(json.loads(row.columns), version=row.schema_version),
        definition=json.loads(row.definition),
        storage=json.loads(row.moved_to)["target"] if row.moved_to else row.storage,
    )


def _definition(dataset: Dataset) -> Mapping[str, Any]:
    # through JSON, so that it compares equal to what is read back
    plain: dict[str, Any] = json.loads(json.dumps(dataset.definition()))
    return plain


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
