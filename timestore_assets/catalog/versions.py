"""Rows that rise by a version with every change, so that whoever changes one can say which they have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, select

from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.model.errors import StaleVersionError


def put_version(
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
