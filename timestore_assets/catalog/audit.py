"""The audit log: one row for every commit that changed something, and the proof that a commit happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from timestore_assets.catalog import tables
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.model.window import format_time

ROUTINE = ("landed", "built", "file_duplicate", "landing_paused", "landing_resumed")
"""Actions that happen by themselves, again and again."""


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


def newest(
    connection: Connection, *, dataset_ids: Sequence[int] | None, limit: int, before: int | None = None
) -> list[dict[str, Any]]:
    """See `Catalog.audit`."""
    log = tables.audit.c
    statement = select(tables.audit, tables.datasets.c.name).outerjoin_from(tables.audit, tables.datasets)
    if dataset_ids is not None:
        statement = statement.where(log.dataset_id.in_(dataset_ids))
    if before is not None:
        statement = statement.where(log.id < before)
    return [
        {
            "id": row.id,
            "at": format_time(from_micros(row.at)),
            "dataset": row.name,
            "actor": row.actor,
            "action": row.action,
            "manifest_version": row.manifest_version,
            "details": json.loads(row.details),
        }
        for row in connection.execute(statement.order_by(log.id.desc()).limit(limit))
    ]
