"""Requests that brought records over HTTP: what became of each, by its id and by its idempotency key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, select

from timestore_assets.catalog import tables
from timestore_assets.catalog.commit_values import LandingCommit, NewIngestion
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import duration_micros, from_micros, optional_time
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.service_records import Ingestion, IngestionState
from timestore_assets.catalog.sessions import alive
from timestore_assets.catalog.tables import datasets, ingestions, sessions
from timestore_assets.model.errors import ConflictError

c = ingestions.c
_AT_ONCE = 1000


class Ingestions:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def announce(self, dataset_id: int, session_id: int, wanted: NewIngestion) -> bool:
        """Note that a request waits to be landed by a session; False when its key has been used before."""
        return self._database.write(lambda connection: self._announce(connection, dataset_id, session_id, wanted))

    def _announce(self, connection: Connection, dataset_id: int, session_id: int, wanted: NewIngestion) -> bool:
        now = self._database.now(connection)
        _free_abandoned(connection, dataset_id, [wanted], now=now)
        return insert_ignore(connection, ingestions, _row(dataset_id, session_id, wanted, state="pending", now=now)) == 1

    def find(self, ingestion_id: str) -> Ingestion | None:
        """The request of that id."""
        return self._one(c.id == ingestion_id)

    def with_keys(self, dataset_id: int, keys: Sequence[str]) -> dict[str, Ingestion]:
        """The requests that used these idempotency keys, by key; abandoned ones count as if they had never been."""

        def read(connection: Connection) -> dict[str, Ingestion]:
            by_key = {}
            now = self._database.now(connection)
            for some in chunked(dict.fromkeys(keys)):
                for row in connection.execute(_with_liveness(now).where(c.dataset_id == dataset_id, c.key.in_(some))):
                    by_key[row.key] = _record(row)
            return {key: ingestion for key, ingestion in by_key.items() if ingestion.state != "abandoned"}

        return self._database.read(read)

    def forget(self, *, older_than: timedelta) -> int:
        """Remove settled and abandoned requests of before, in steps of their own; returns how many."""

        def some(connection: Connection) -> int:
            now = self._database.now(connection)
            lost = select(sessions.c.id).where(sessions.c.id == c.session_id, alive(now)).exists()
            old = and_(c.created_at < now - duration_micros(older_than), (c.state == "landed") | ~lost)
            oldest = select(c.id).where(old).order_by(c.created_at).limit(_AT_ONCE)
            return connection.execute(delete(ingestions).where(c.id.in_(oldest))).rowcount

        total = 0
        while gone := self._database.write(some):
            total += gone
        return total

    def _one(self, condition: Any) -> Ingestion | None:
        def read(connection: Connection) -> Ingestion | None:
            row = connection.execute(_with_liveness(self._database.now(connection)).where(condition)).one_or_none()
            return None if row is None else _record(row)

        return self._database.read(read)


def settle(connection: Connection, batch: LandingCommit, settled: Sequence[NewIngestion], *, version: int, now: int) -> None:
    """Write what became of the requests of a landing commit, in its transaction.

    Raises:
        ConflictError: another request has used one of the keys.
    """
    fresh = [ingestion for ingestion in settled if not ingestion.announced]
    _free_abandoned(connection, batch.dataset_id, fresh, now=now)
    rows = [_row(batch.dataset_id, batch.session_id, ingestion, state="landed", now=now, version=version) for ingestion in fresh]
    if insert_ignore(connection, ingestions, *rows) < len(rows):
        raise ConflictError("an idempotency key of this batch has been used since it was looked up; look the keys up again")
    for ingestion in settled:
        if ingestion.announced:
            values = {"state": "landed", "outcome": _json(ingestion.outcome), "manifest_version": version, "settled_at": now}
            waiting = ingestions.update().where(c.id == ingestion.id, c.state == "pending").values(values)
            if connection.execute(waiting).rowcount == 0:
                raise ConflictError("a request of this batch has been settled by somebody else")


def _free_abandoned(connection: Connection, dataset_id: int, wanted: Sequence[NewIngestion], *, now: int) -> None:
    """Let go of keys whose request was never landed and never will be."""
    keys = [one.key for one in wanted if one.key is not None]
    living = select(sessions.c.id).where(sessions.c.id == c.session_id, alive(now)).exists()
    for some in chunked(keys):
        connection.execute(delete(ingestions).where(c.dataset_id == dataset_id, c.key.in_(some), c.state == "pending", ~living))


def _row(
    dataset_id: int, session_id: int, one: NewIngestion, *, state: IngestionState, now: int, version: int | None = None
) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "dataset_id": dataset_id,
        "key": one.key,
        "digest": one.digest,
        "state": state,
        "session_id": session_id,
        "outcome": _json(one.outcome),
        "manifest_version": version,
        "actor": one.actor,
        "created_at": now,
        "settled_at": None if state == "pending" else now,
    }


def _with_liveness(now: int) -> Select[Any]:
    living = select(sessions.c.id).where(sessions.c.id == c.session_id, alive(now)).scalar_subquery()
    return select(ingestions, datasets.c.name.label("dataset"), living.label("living")).join_from(
        ingestions, datasets, c.dataset_id == tables.datasets.c.id
    )


def _record(row: Row[Any]) -> Ingestion:
    state: IngestionState = "abandoned" if row.state == "pending" and row.living is None else row.state
    return Ingestion(
        id=row.id,
        dataset_id=row.dataset_id,
        dataset=row.dataset,
        key=row.key,
        digest=row.digest,
        state=state,
        outcome=json.loads(row.outcome),
        manifest_version=row.manifest_version,
        actor=row.actor,
        created_at=from_micros(row.created_at),
        settled_at=optional_time(row.settled_at),
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
