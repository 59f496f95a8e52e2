"""Rows that rise by a version with every change, so that whoever changes one can say which they have seen.

What an operator set for a dataset in place of its declaration, SELECTs with a name, and declarations that came over HTTP.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import Connection, Row, Table, and_, delete, select

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.service_records import Policy, PolicyKind, SavedQuery, StoredDeclaration
from timestore_assets.catalog.tables import declarations, policies, saved_queries
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import StaleVersionError

T = TypeVar("T")


class Policies:
    """What an operator set for a dataset in place of what its declaration says. Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, dataset_id: int, kind: PolicyKind) -> Policy | None:
        wanted = select(policies).where(policies.c.dataset_id == dataset_id, policies.c.kind == kind)
        row = self._database.read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else _policy(row)

    def all(self, kind: PolicyKind) -> dict[int, Policy]:
        """Those of every dataset that has one, by the dataset's id."""
        wanted = select(policies).where(policies.c.kind == kind)
        rows = self._database.read(lambda connection: connection.execute(wanted).all())
        return {row.dataset_id: _policy(row) for row in rows}

    def put(
        self, dataset_id: int, kind: PolicyKind, value: Mapping[str, Any] | None, *, actor: str, if_version: int | None = None
    ) -> Policy:
        """Set a policy, or with None take it back; audited with what it was before. `if_version`: as in `SavedQueries`.

        Raises:
            ConflictError: it has another version by now.
        """

        def work(connection: Connection) -> Policy:
            now = self._database.now(connection)
            dataset = datasets.lock(connection, dataset_id)
            what = f"the {kind.replace('_', ' ')} of dataset {dataset.name!r}"
            key = {"dataset_id": dataset_id, "kind": kind}
            values = {"value": json.dumps(value and dict(value)), "actor": actor, "updated_at": now}
            before, version = _put_version(connection, policies, key, values, what=what, if_version=if_version)
            details = {"before": json.loads(before.value) if before else None, "after": value and dict(value)}
            action = f"{kind}_unset" if value is None else f"{kind}_set"
            audit.record(connection, dataset_id, actor=actor, action=action, details=details, now=now)
            set_to = None if value is None else dict(value)
            return Policy(kind=kind, value=set_to, actor=actor, version=version, updated_at=from_micros(now))

        return self._database.write(work)


def _policy(row: Row[Any]) -> Policy:
    updated = from_micros(row.updated_at)
    return Policy(kind=row.kind, value=json.loads(row.value), actor=row.actor, version=row.version, updated_at=updated)


class _NamedRows(ABC, Generic[T]):
    """Rows of a table with a name. Each method is one short transaction; changes are audited.

    `if_version`: change only this version, 0 only when there is none yet, None whatever there is.
    """

    _table: ClassVar[Table]

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> T | None:
        return self._database.read(lambda connection: self._find(connection, name))

    def listed(self) -> list[T]:
        """By name."""
        statement = select(self._table).order_by(self._table.c.name)
        return self._database.read(lambda connection: [self._record(row) for row in connection.execute(statement)])

    def _find(self, connection: Connection, name: str) -> T | None:
        row = connection.execute(select(self._table).where(self._table.c.name == name)).one_or_none()
        return None if row is None else self._record(row)

    @abstractmethod
    def _record(self, row: Row[Any]) -> T: ...


class SavedQueries(_NamedRows[SavedQuery]):
    """SELECTs with a name."""

    _table = saved_queries

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
            _, version = _put_version(connection, saved_queries, key, values, what=what, if_version=if_version)
            details = {"query": query.name, "version": version}
            audit.record(connection, None, actor=query.actor, action="query_saved", details=details, now=now)
            saved = self._find(connection, query.name)
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
            connection.execute(delete(saved_queries).where(saved_queries.c.name == name))
            now = self._database.now(connection)
            audit.record(connection, None, actor=actor, action="query_removed", details={"query": name}, now=now)
            return True

        return self._database.write(work)

    def _record(self, row: Row[Any]) -> SavedQuery:
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


class Declarations(_NamedRows[StoredDeclaration]):
    """Declarations of datasets that came over HTTP, as a declaration's attributes."""

    _table = declarations

    def put(
        self,
        name: str,
        attributes: Mapping[str, Any],
        *,
        actor: str,
        if_version: int | None = None,
        dataset: Dataset | None = None,
        defaults: datasets.Defaults | None = None,
    ) -> StoredDeclaration:
        """Insert or replace; the attributes have been checked. `dataset`: what they declare, registered in the same transaction.
        `defaults`: what carries out those of its columns.

        Raises:
            StaleVersionError: it has another version by now.
            RefusedError: rows of the dataset don't allow the change.
        """

        def work(connection: Connection) -> StoredDeclaration:
            now = self._database.now(connection)
            values = {"attributes": json.dumps(dict(attributes)), "actor": actor, "created_at": now, "updated_at": now}
            what, key = f"dataset {name!r}", {"name": name}
            _, version = _put_version(connection, declarations, key, values, what=what, if_version=if_version)
            registered = (
                datasets.register(connection, dataset, actor=actor, now=now, may_be_behind=False, defaults=defaults)
                if dataset
                else None
            )
            details = {"dataset": name, "version": version}
            dataset_id = registered.id if registered else None
            audit.record(connection, dataset_id, actor=actor, action="dataset_declared", details=details, now=now)
            stored = self._find(connection, name)
            assert stored is not None  # noqa: S101 - just written
            return stored

        return self._database.write(work)

    def _record(self, row: Row[Any]) -> StoredDeclaration:
        return StoredDeclaration(
            name=row.name,
            attributes=json.loads(row.attributes),
            actor=row.actor,
            version=row.version,
            created_at=from_micros(row.created_at),
            updated_at=from_micros(row.updated_at),
        )


def _put_version(
    connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any], *, what: str, if_version: int | None
) -> tuple[Row[Any] | None, int]:
    """Insert or change the row of a key; returns what was there before and the new version.

    `what`: what the row is, as an error names it. `if_version`: change only this version, 0 only when there is none yet, None
    whatever there is. `values`: without the version; `created_at` is for a new row only.

    Raises:
        StaleVersionError: it has another version by now.
    """
    while True:
        before = locked(connection, table, key)
        version = require_version(what, before.version if before else 0, if_version) + 1
        if before is not None:
            changed = {name: value for name, value in values.items() if name != "created_at"}
            connection.execute(table.update().where(_is(table, key)).values(version=version, **changed))
            return before, version
        if insert_ignore(connection, table, {**key, "version": version, **values}):
            return None, version


def locked(connection: Connection, table: Table, key: Mapping[str, Any]) -> Row[Any] | None:
    """The row of a key, held until the transaction ends."""
    return connection.execute(select(table).where(_is(table, key)).with_for_update()).one_or_none()


def require_version(what: str, found: int, wanted: int | None) -> int:
    """The version found, 0 for none; StaleVersionError when another was wanted."""
    if wanted is not None and wanted != found:
        there = f"is at version {found}" if found else "does not exist"
        raise StaleVersionError(f"{what} {there}, not at version {wanted}; read it again and decide anew")
    return found


def _is(table: Table, key: Mapping[str, Any]) -> Any:
    return and_(*(table.c[name] == value for name, value in key.items()))
