"""The audit log: one row for every commit that changed something, and the proof that a commit happened."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from timestore_assets.catalog import tables
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.former_names import shown_name
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.model.window import format_time

ROUTINE = ("landed", "built", "file_duplicate", "landing_paused", "landing_resumed")
"""Actions that happen by themselves, again and again."""


class AuditLog:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(
        self, *, dataset_ids: Sequence[int] | None = None, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        """The newest rows first, with their datasets' names; only those of these datasets, and older than the row `before`."""
        log = tables.audit.c
        statement = select(tables.audit, tables.datasets.c.name).outerjoin_from(tables.audit, tables.datasets)
        if dataset_ids is not None:
            statement = statement.where(log.dataset_id.in_(dataset_ids))
        if before is not None:
            statement = statement.where(log.id < before)
        rows = self._database.read(lambda c: c.execute(statement.order_by(log.id.desc()).limit(limit)).all())
        return [
            {
                "id": row.id,
                "at": format_time(from_micros(row.at)),
                "dataset": None if row.name is None else shown_name(row.name),
                "actor": row.actor,
                "action": row.action,
                "manifest_version": row.manifest_version,
                "details": json.loads(row.details),
            }
            for row in rows
        ]


def write_once(database: Database, work: Callable[[Connection, str, int], int], token: str | None = None) -> int:
    """A write that must happen exactly once: when the connection breaks during COMMIT, its audit row tells whether it did.

    `work`: is given the token to write that row with, and the time; it returns the manifest version that it left. `token`: one
    that the caller knows too, so that it can ask `committed` itself.
    """
    token = token or uuid.uuid4().hex
    return database.write(
        lambda connection: work(connection, token, database.now(connection)),
        settle=lambda connection: committed(connection, token),
    )


def record(
    connection: Connection,
    dataset_id: int | None,
    *,
    actor: str,
    action: str,
    details: Mapping[str, Any],
    now: int,
    token: str | None = None,
    manifest_version: int | None = None,
) -> None:
    """Write a row; `token` names the commit it belongs to, see `committed`."""
    connection.execute(
        tables.audit.insert(),
        {
            "at": now,
            "dataset_id": dataset_id,
            "actor": actor,
            "action": action,
            "details": json.dumps(details, separators=(",", ":")),
            "token": token,
            "manifest_version": manifest_version,
        },
    )


def committed(connection: Connection, token: str) -> int | None:
    """The manifest version that the commit of that token left, None when it was not committed.

    A transaction in doubt that has written the token may still be about to commit: writing it once more waits for its end.
    """
    probe = {"at": 0, "actor": "timestore", "action": "settling", "details": "{}", "token": token}
    with connection.begin_nested() as attempt:
        insert_ignore(connection, tables.audit, probe)
        attempt.rollback()
    version: int | None = connection.execute(
        select(tables.audit.c.manifest_version).where(tables.audit.c.token == token)
    ).scalar_one_or_none()
    return version
