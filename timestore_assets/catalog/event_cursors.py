"""How far consumers of the audit have been told: the audit is the queue, and a consumer has a place in it.

A row is given once no row before it can still come: ids are given when a row is written and seen when its transaction ends, so on
PostgreSQL a later one may be seen first. Behind a gap nothing is given until the gap is filled, or is old enough to stay one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.former_names import shown_name
from timestore_assets.catalog.instants import duration_micros, from_micros, later, to_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.tables import audit, datasets, event_cursors

SETTLED = timedelta(minutes=3)
"""A row that began so long ago has nothing before it that could still be committed: more than any statement may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """A row of the audit, for consumers."""

    id: int
    at: datetime
    dataset_id: int | None
    dataset: str
    """Its name, empty for what concerns none."""
    actor: str
    action: str
    details: Mapping[str, Any]
    token: str | None
    manifest_version: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EventCursor:
    """Where a consumer is. `state`: what it keeps beside it, as JSON values. `due_at`: before that it is not to try again."""

    audit_id: int
    state: Mapping[str, Any]
    revision: int
    attempts: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRows:
    """`are_all`: nothing that was committed before they were read is missing behind them."""

    rows: Sequence[AuditRow]
    are_all: bool
    now: datetime


class EventCursors:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, consumer: str) -> EventCursor:
        """Where a consumer is; one that is new begins behind what there is now."""

        def work(connection: Connection) -> EventCursor:
            found = connection.execute(select(event_cursors).where(event_cursors.c.consumer == consumer)).one_or_none()
            if found is None:
                newest = connection.execute(select(func.max(audit.c.id))).scalar_one() or 0
                row = {"audit_id": newest, "state": "{}", "revision": 0, "attempts": 0, "due_at": 0}
                insert_ignore(connection, event_cursors, {"consumer": consumer, **row})
                found = connection.execute(select(event_cursors).where(event_cursors.c.consumer == consumer)).one()
            return _cursor(found)

        return self._database.write(work)

    def advance(self, consumer: str, cursor: EventCursor, *, audit_id: int, state: Mapping[str, Any]) -> bool:
        """Go on from where the cursor is; False when another has done so meanwhile."""
        changed = {"audit_id": audit_id, "state": json.dumps(state, separators=(",", ":")), "attempts": 0, "due_at": 0}
        return self._set(consumer, cursor, changed)

    def postpone(self, consumer: str, cursor: EventCursor, pause: timedelta) -> bool:
        """Count an attempt that failed, and wait so long before the next one; False as `advance`."""
        return self._database.timed(
            lambda c, now: _set(c, consumer, cursor, {"attempts": cursor.attempts + 1, "due_at": later(now, pause)})
        )

    def behind(self, after: int, *, limit: int) -> AuditRows:
        """The next rows behind an id, in order."""
        statement = select(audit, datasets.c.name).outerjoin_from(audit, datasets).where(audit.c.id > after).order_by(audit.c.id)

        def work(connection: Connection) -> AuditRows:
            now = self._database.now(connection)
            found = connection.execute(statement.limit(limit)).all()
            # on SQLite one transaction writes at a time, so that a gap is what was forgotten
            given = found if self._database.is_sqlite else _settled(found, after, before=now - duration_micros(SETTLED))
            are_all = len(given) == len(found) < limit
            return AuditRows(rows=[_row(row) for row in given], are_all=are_all, now=from_micros(now))

        return self._database.read(work)

    def before(self, time: datetime) -> int:
        """The id behind which all rows of that time and later stand."""
        first = select(func.min(audit.c.id)).where(audit.c.at >= to_micros(time))
        newest = select(func.max(audit.c.id))

        def work(connection: Connection) -> int:
            found: int | None = connection.execute(first).scalar_one()
            last: int = connection.execute(newest).scalar_one() or 0
            return last if found is None else found - 1

        return self._database.read(work)

    def _set(self, consumer: str, cursor: EventCursor, changed: Mapping[str, Any]) -> bool:
        return self._database.write(lambda connection: _set(connection, consumer, cursor, changed))


def _set(connection: Connection, consumer: str, cursor: EventCursor, changed: Mapping[str, Any]) -> bool:
    c = event_cursors.c
    own = event_cursors.update().where(c.consumer == consumer, c.revision == cursor.revision)
    return connection.execute(own.values(**changed, revision=cursor.revision + 1)).rowcount == 1


def _settled(rows: Sequence[Row[Any]], after: int, *, before: int) -> Sequence[Row[Any]]:
    """Those before the first gap that may still be filled."""
    last = after
    for index, row in enumerate(rows):
        if row.id > last + 1 and row.at > before:
            return rows[:index]
        last = row.id
    return rows


def _cursor(row: Row[Any]) -> EventCursor:
    return EventCursor(
        audit_id=row.audit_id,
        state=json.loads(row.state),
        revision=row.revision,
        attempts=row.attempts,
        due_at=from_micros(row.due_at),
    )


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        id=row.id,
        at=from_micros(row.at),
        dataset_id=row.dataset_id,
        dataset="" if row.name is None else shown_name(row.name),
        actor=row.actor,
        action=row.action,
        details=json.loads(row.details),
        token=row.token,
        manifest_version=row.manifest_version,
    )
