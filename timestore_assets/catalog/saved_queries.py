"""SELECTs with a name."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from timestore_assets.catalog import audit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.catalog.tables import saved_queries
from timestore_assets.catalog.versions import locked, put_version, require_version

c = saved_queries.c


class SavedQueries:
    """Each method is one short transaction; changes are audited.

    `if_version`: change only this version, 0 only when there is none yet, None whatever there is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> SavedQuery | None:
        return self._database.read(lambda connection: _find(connection, name))

    def listed(self) -> list[SavedQuery]:
        """By name."""
        statement = select(saved_queries).order_by(c.name)
        return self._database.read(lambda connection: [_record(row) for row in connection.execute(statement)])

    def put(self, query: SavedQuery, *, if_version: int | None = None) -> SavedQuery:
        """Insert or replace; returns it with its new version.

        Raises:
            ConflictError: it has another version by now.
        """

        def work(connection: Connection) -> SavedQuery:
            now = self._database.now(connection)
            values = {
                "sql": query.sql,
                "parameters": json.dumps(dict(query.parameters)),
                "datasets": json.dumps(list(query.datasets)),
                "description": query.description,
                "actor": query.actor,
                "created_at": now,
                "updated_at": now,
            }
            what, key = f"saved query {query.name!r}", {"name": query.name}
            _, version = put_version(connection, saved_queries, key, values, what=what, if_version=if_version)
            details = {"query": query.name, "version": version}
            audit.record(connection, None, actor=query.actor, action="query_saved", details=details, now=now)
            saved = _find(connection, query.name)
            assert saved is not None  # noqa: S101 - just written
            return saved

        return self._database.write(work)

    def remove(self, name: str, *, actor: str, if_version: int | None = None) -> bool:
        """Whether there was one to remove; ConflictError as `put`."""

        def work(connection: Connection) -> bool:
            before = locked(connection, saved_queries, {"name": name})
            if before is None:
                return False
            require_version(f"saved query {name!r}", before.version, if_version)
            connection.execute(delete(saved_queries).where(c.name == name))
            now = self._database.now(connection)
            audit.record(connection, None, actor=actor, action="query_removed", details={"query": name}, now=now)
            return True

        return self._database.write(work)


def _find(connection: Connection, name: str) -> SavedQuery | None:
    row = connection.execute(select(saved_queries).where(c.name == name)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> SavedQuery:
    return SavedQuery(
        name=row.name,
        sql=row.sql,
        parameters=json.loads(row.parameters),
        datasets=tuple(json.loads(row.datasets)),
        description=row.description,
        actor=row.actor,
        version=row.version,
        updated_at=from_micros(row.updated_at),
    )
