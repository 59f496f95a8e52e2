"""Declarations of datasets that came over HTTP, as a declaration's attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from timestore_assets.catalog import audit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.records import StoredDeclaration
from timestore_assets.catalog.tables import declarations
from timestore_assets.catalog.versions import put_version

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

    def put(self, name: str, attributes: Mapping[str, Any], *, actor: str, if_version: int | None = None) -> StoredDeclaration:
        """Insert or replace; the attributes have been checked.

        Raises:
            ConflictError: it has another version by now.
        """

        def work(connection: Connection) -> StoredDeclaration:
            now = self._database.now(connection)
            values = {"attributes": json.dumps(dict(attributes)), "actor": actor, "created_at": now, "updated_at": now}
            what, key = f"dataset {name!r}", {"name": name}
            _, version = put_version(connection, declarations, key, values, what=what, if_version=if_version)
            details = {"dataset": name, "version": version}
            audit.record(connection, None, actor=actor, action="dataset_declared", details=details, now=now)
            stored = _find(connection, name)
            assert stored is not None  # noqa: S101 - just written
            return stored

        return self._database.write(work)

    def remove(self, name: str) -> None:
        """Take back a declaration that turned out not to fit what is stored."""
        self._database.write(lambda connection: connection.execute(delete(declarations).where(c.name == name)))


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
