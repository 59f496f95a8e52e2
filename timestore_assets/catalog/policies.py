"""What an operator set for a dataset in place of what its declaration says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit, datasets
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.service_records import Policy, PolicyKind
from timestore_assets.catalog.tables import policies
from timestore_assets.catalog.versions import put_version

c = policies.c


class Policies:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, dataset_id: int, kind: PolicyKind) -> Policy | None:
        return self._database.read(lambda connection: _find(connection, dataset_id, kind))

    def put(
        self, dataset_id: int, kind: PolicyKind, value: Mapping[str, Any], *, actor: str, if_version: int | None = None
    ) -> Policy:
        """Set a policy; audited with what it was before. `if_version`: as in `SavedQueries`.

        Raises:
            ConflictError: it has another version by now.
        """

        def work(connection: Connection) -> Policy:
            now = self._database.now(connection)
            dataset = datasets.lock(connection, dataset_id)
            what = f"the {kind.replace('_', ' ')} of dataset {dataset.name!r}"
            key = {"dataset_id": dataset_id, "kind": kind}
            values = {"value": json.dumps(dict(value)), "actor": actor, "updated_at": now}
            before, version = put_version(connection, policies, key, values, what=what, if_version=if_version)
            details = {"before": json.loads(before.value) if before else None, "after": dict(value)}
            audit.record(connection, dataset_id, actor=actor, action=f"{kind}_set", details=details, now=now)
            return Policy(kind=kind, value=dict(value), actor=actor, version=version, updated_at=from_micros(now))

        return self._database.write(work)


def _find(connection: Connection, dataset_id: int, kind: PolicyKind) -> Policy | None:
    row = connection.execute(select(policies).where(c.dataset_id == dataset_id, c.kind == kind)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> Policy:
    return Policy(
        kind=row.kind, value=json.loads(row.value), actor=row.actor, version=row.version, updated_at=from_micros(row.updated_at)
    )
