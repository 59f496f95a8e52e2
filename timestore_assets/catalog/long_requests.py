"""Operations: work that people asked for over HTTP and that may take longer than a request.

What is known of one are two rows of the audit, of its beginning and of its end, found by their tokens; so any process can tell
how it stands. While it is at work its process holds a lease; without that and without an end it was broken off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.tables import audit as audit_table
from timestore_assets.catalog.tables import leases
from timestore_assets.model.errors import TimestoreError

OperationKind = Literal["erasure", "reload"]
OperationState = Literal["running", "done", "failed", "broken_off"]
"""broken_off: its process ended before it did; the same request goes on with it."""
BEGUN, ENDED, FAILED = "operation_begun", "operation_ended", "operation_failed"
a = audit_table.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """How one stands. `request`, `outcome`: plain values without any of rows. `reason`: why it failed."""

    id: str
    dataset_id: int
    kind: OperationKind
    state: OperationState
    request: Mapping[str, Any]
    outcome: Mapping[str, Any] | None
    reason: str
    actor: str
    began_at: datetime
    ended_at: datetime | None


def resource(operation_id: str) -> str:
    """What the process that works on it holds a lease of."""
    return f"operation:{operation_id}"


class LongRequests:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, operation_id: str, dataset_id: int, kind: OperationKind, request: Mapping[str, Any], *, actor: str) -> None:
        """Write down that it begins."""
        details = {"operation": operation_id, "kind": kind, **request}
        audit.write_once(self._database, _writing(dataset_id, BEGUN, details, actor=actor), token=_begin(operation_id))

    def end(self, operation_id: str, dataset_id: int, outcome: Mapping[str, Any], *, actor: str) -> None:
        """Write down what came of it."""
        details = {"operation": operation_id, **outcome}
        audit.write_once(self._database, _writing(dataset_id, ENDED, details, actor=actor), token=_end(operation_id))

    def fail(self, operation_id: str, dataset_id: int, reason: str, *, actor: str) -> None:
        """Write down why it ended; where the catalog itself fails, nobody is told here, and it counts as broken off."""
        details = {"operation": operation_id, "reason": reason}
        with suppress(TimestoreError):
            audit.write_once(self._database, _writing(dataset_id, FAILED, details, actor=actor), token=_end(operation_id))

    def find(self, dataset_id: int, operation_id: str) -> Operation | None:
        """How one of the dataset stands, as long as the audit is kept."""
        return self._database.timed(lambda c, now: _find(c, dataset_id, operation_id, now=now))


def _writing(dataset_id: int, action: str, details: Mapping[str, Any], *, actor: str) -> Any:
    def work(connection: Connection, token: str, now: int) -> int:
        version: int = datasets.row(connection, dataset_id).manifest_version
        audit.record(
            connection,
            dataset_id,
            actor=actor,
            action=action,
            details=details,
            now=now,
            token=token,
            manifest_version=version,
        )
        return version

    return work


def _find(connection: Connection, dataset_id: int, operation_id: str, *, now: int) -> Operation | None:
    tokens = (_begin(operation_id), _end(operation_id))
    told = select(audit_table).where(a.dataset_id == dataset_id, a.token.in_(tokens)).order_by(a.id)
    rows = {row.token: row for row in connection.execute(told)}
    began, ended = (rows.get(token) for token in tokens)
    if began is None:
        return None
    request, outcome = json.loads(began.details), json.loads(ended.details) if ended is not None else {}
    kind = request.pop("kind")
    request.pop("operation")
    outcome.pop("operation", None)
    state: OperationState = "broken_off"
    if ended is not None:
        state = "done" if ended.action == ENDED else "failed"
    else:
        held = select(leases.c.id).where(leases.c.resource == resource(operation_id), leases.c.expires_at > now)
        state = "running" if connection.execute(held).first() is not None else "broken_off"
    return Operation(
        id=operation_id,
        dataset_id=dataset_id,
        kind=kind,
        state=state,
        request=request,
        outcome=outcome if state == "done" else None,
        reason=str(outcome.get("reason", "")) if state == "failed" else "",
        actor=began.actor,
        began_at=from_micros(began.at),
        ended_at=None if ended is None else from_micros(ended.at),
    )


def _begin(operation_id: str) -> str:
    return f"{resource(operation_id)}:begin"


def _end(operation_id: str) -> str:
    return f"{resource(operation_id)}:end"
