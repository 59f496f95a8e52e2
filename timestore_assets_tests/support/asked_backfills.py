"""Schema versions that compute columns, and the backfills that they ask for, by the catalog alone: no migration is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from timestore_assets.catalog import datasets, schema_versions
from timestore_assets.catalog.backfills import request_rewrite
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.dataset import BackfillPolicy
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE

CAUSE = {"kind": "migration", "ticket": "OPS-12", "columns": ["temp_c"]}
REWRITE_ALL = {"kind": "migration", "ticket": "OPS-12", "rewrite": "all"}
"""Concerns what is only older, so that a build of rows that wait to be built is a rewrite."""


def new_schema(catalog: Catalog, dataset_id: int, change: Callable[[Schema], Schema]) -> int:
    """A new schema version in force from now on; its number."""

    def work(connection: Connection, now: int) -> int:
        row = datasets.lock(connection, dataset_id)
        current = schema_versions.schema(connection, dataset_id, row.schema_version)
        evolved = replace(change(current), version=current.version + 1)
        made = {"manifest_version": row.manifest_version, "cause": {"kind": "migration"}}
        schema_versions.add(connection, row, evolved, changes=(), **made, actor="test", now=now)
        return evolved.version

    return catalog.database.timed(work)


def computing(name: str, expression: str = '"#3" * 2') -> Callable[[Schema], Schema]:
    """Adds a column that is computed for older rows."""

    def change(schema: Schema) -> Schema:
        return schema.with_columns(Column(name=name, type=DOUBLE, nullable=True, expression=expression))

    return change


def adding(name: str) -> Callable[[Schema], Schema]:
    """Adds a column that older rows are read without."""
    return lambda schema: schema.with_columns(Column(name=name, type=DOUBLE, nullable=True, origin="inferred"))


def without(name: str) -> Callable[[Schema], Schema]:
    return lambda schema: replace(
        schema,
        columns=tuple(column for column in schema if column.name != name),
        retired=(*schema.retired, schema.column(name)),
    )


def ask(
    catalog: Catalog, dataset_id: int, version: int, *, policy: BackfillPolicy = "ask", cause: Mapping[str, Any] = CAUSE
) -> int | None:
    """Ask for what a schema version concerns; its id, None where that is nothing."""
    return catalog.database.timed(
        lambda c, now: request_rewrite(c, dataset_id, schema_version=version, cause=cause, policy=policy, actor="tester", now=now)
    )


def asked_to_rewrite_all(catalog: Catalog, name: str, *, policy: BackfillPolicy = "ask") -> int:
    """A backfill of all that a dataset holds, for a schema version with one more column; its id."""
    record = catalog.datasets.find(name)
    assert record is not None
    version = new_schema(catalog, record.id, adding("wind"))
    made = ask(catalog, record.id, version, policy=policy, cause=REWRITE_ALL)
    assert made is not None
    return made
