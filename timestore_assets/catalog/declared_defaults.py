"""Defaults of a declaration's columns, carried out where it is registered: as the migration that adds such columns would be.

What is to be done is worked out by the caller's functions, on the columns as they are under the dataset's lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row

from timestore_assets.catalog import datasets, schema_versions
from timestore_assets.catalog.left_out_columns import ask_for_reload
from timestore_assets.catalog.schema_migrations import ColumnState, Migrated, MigrationOrder, put_in_force, state_of
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema

TICKET = "declaration"
"""Stands where a migration has its ticket."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultsToAdd:
    """A migration that a declaration stands for. `plain`: its operations, as JSON values. `digest`: tells it from others."""

    plain: Mapping[str, Any]
    digest: str
    migrate: Callable[[ColumnState], Migrated]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeclaredDefaults:
    """Implements `datasets.Defaults`.

    `to_add`: of a declaration, by the columns that there are, what it adds; None for nothing. `known`: the schema, with the
    defaults of columns that have them by a migration already. `computed`: the schema of a dataset without rows, with what its
    columns are computed by.
    """

    to_add: Callable[[ColumnState, Dataset], DefaultsToAdd | None]
    known: Callable[[Schema, Dataset], Schema]
    computed: Callable[[Schema, Dataset], Schema]

    def before(self, connection: Connection, row: Row[Any], dataset: Dataset, *, actor: str, now: int) -> Row[Any]:
        """See `datasets.Defaults`."""
        found = schema_versions.identified(connection, row.id, schema_versions.schema(connection, row.id, row.schema_version))
        schema = self.known(found, dataset)
        if schema != found:
            schema_versions.rewrite(connection, row.id, schema)
        row = datasets.row(connection, row.id)
        adding = self.to_add(state_of(row, schema), dataset)
        if adding is None:
            return row
        order = MigrationOrder(
            manifest=adding.plain,
            # the same may be added again, after it was dropped
            digest=hashlib.sha256(f"{adding.digest} {schema.version}".encode()).hexdigest(),
            ticket=TICKET,
            approved_by=actor,
            base=schema,
            backfill=dataset.evolution.backfill,
            actor=actor,
        )
        _, migrated = put_in_force(connection, row.id, order, adding.migrate, now=now)
        definition = json.loads(row.definition)
        # of a column that was left out, sources have values that no default is to stand for
        ask_for_reload(
            connection,
            row,
            before=definition,
            after=definition,
            changes=migrated.changes,
            version=migrated.state.schema.version,
            actor=actor,
            now=now,
        )
        return datasets.row(connection, row.id)

    def after(self, connection: Connection, dataset_id: int, dataset: Dataset) -> None:
        """See `datasets.Defaults`."""
        row = datasets.row(connection, dataset_id)
        found = schema_versions.identified(
            connection, dataset_id, schema_versions.schema(connection, dataset_id, row.schema_version)
        )
        schema = self.computed(found, dataset)
        if [one.expression for one in schema] != [one.expression for one in found]:
            schema_versions.rewrite(connection, dataset_id, replace(schema, version=found.version))
