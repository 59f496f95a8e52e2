"""Declarations of datasets that came over HTTP, as a declaration's attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.service_records import StoredDeclaration
from timestore_assets.catalog.tables import declarations
from timestore_assets.catalog.versions import put_version
from timestore_assets.model.dataset import Dataset

c = declarations.c


class Declarations:
    """Each method is one short transaction; changes are audited. `if_version`: as in `SavedQueries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> StoredDeclaration | None:
        return self._database.read(lambda connection: _find(connection, name))

    def listed(self) -> list[StoredDeclaration]:
        """By name."""
        statement = select(declarations).order_by(c.name)
        return self._database.read(lambda connection: [_record(row) for row in connection.execute(statement)])

    def put(
        self,
        name: str,
        attributes: Mapping[str, Any],
        *,
        actor: str,
        if_version: int | None = None,
        dataset: Dataset | None = None,
    ) -> StoredDeclaration:
        """Insert or replace; the attributes have been checked. `dataset`: what they declare, registered in the same transaction.

        Raises:
            StaleVersionError: it has another version by now.
            RefusedError: rows of the dataset don't allow the change.
        """

        def work(connection: Connection) -> StoredDeclaration:
            now = self._database.now(connection)
            values = {"attributes": json.dumps(dict(attributes)), "actor": actor, "created_at": now, "updated_at": now}
            what, key = f"dataset {name!r}", {"name": name}
            _, version = put_version(connection, declarations, key, values, what=what, if_version=if_version)
            registered = datasets.register(connection, dataset, actor=actor, now=now) if dataset else None
            details = {"dataset": name, "version": version}
            dataset_id = registered.id if registered else None
            audit.record(connection, dataset_id, actor=actor, action="dataset_declared", details=details, now=now)
            stored = _find(connection, name)
            assert stored is not None  # noqa: S101 - just written
            return stored

        return self._database.write(work)


def _find(connection: Connection, name: str) -> StoredDeclaration | None:
    row = connection.execute(select(declarations).where(c.name == name)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> StoredDeclaration:
    return StoredDeclaration(
        name=row.name,
        attributes=json.loads(row.attributes),
        actor=row.actor,
        version=row.version,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
    )
