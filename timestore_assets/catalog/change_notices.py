"""What was done is told twice in its transaction: to people in the audit, and to Dagster by an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from timestore_assets.catalog import audit, outbox


def tell(
    connection: Connection,
    dataset_id: int,
    action: str,
    details: Mapping[str, Any],
    *,
    event: Mapping[str, Any] | None = None,
    actor: str,
    now: int,
    token: str | None = None,
    manifest_version: int | None = None,
) -> None:
    """Write the details into the audit and queue the event, both under the action's name; the rest as `audit.record`.

    `event`: the details and the actor where it is not given.
    """
    audit.record(
        connection,
        dataset_id,
        actor=actor,
        action=action,
        details=details,
        now=now,
        token=token,
        manifest_version=manifest_version,
    )
    outbox.queue(connection, dataset_id, action, {**details, "actor": actor} if event is None else event, now=now)
