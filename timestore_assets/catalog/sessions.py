"""Sessions with their heartbeats, and the intents that announce objects before they are written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, select
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog import audit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.holders import is_gone, shown
from timestore_assets.catalog.instants import from_micros, later, optional_time
from timestore_assets.catalog.older_processes import at_work, marked
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.tables import intents, sessions
from timestore_assets.model.errors import ConflictError, ForgottenError
from timestore_assets.model.segment import DEFAULT_TARGET

_LANDING = ("landing", "replay")
"""Kinds whose sudden end is a failure; one that builds may have had nothing to do just then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionTimes:
    """`ended_at`: None while it has not ended; one that expired without an end is dead, or paused."""

    started_at: datetime
    ended_at: datetime | None
    expires_at: datetime


class Sessions:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, dataset_id: int, kind: str, *, holder: str, ttl: timedelta) -> int:
        """A landing or build session with a heartbeat lease; its id rises with time (it is the `__session` of rows)."""
        return self._database.timed(lambda c, now: begin(c, dataset_id, kind, holder=holder, until=later(now, ttl), now=now))

    def heartbeat(self, session_id: int, *, ttl: timedelta) -> None:
        self._database.timed(lambda c, now: heartbeat(c, session_id, until=later(now, ttl)))

    def beats(self, session_ids: Sequence[int]) -> dict[int, int]:
        """Until when each of these sessions counts as alive, in microseconds: what grows while one looks is alive."""
        s = sessions.c
        statement = select(s.id, s.expires_at).where(s.id.in_(session_ids))
        return self._database.read(lambda c: {row.id: row.expires_at for row in c.execute(statement)})

    def times(self, session_ids: Collection[int]) -> dict[int, SessionTimes]:
        """When each of these sessions began, ended, and counts as dead; without those that are forgotten."""
        s = sessions.c

        def work(connection: Connection) -> dict[int, SessionTimes]:
            found: dict[int, SessionTimes] = {}
            for chunk in chunked(session_ids):
                rows = connection.execute(select(sessions).where(s.id.in_(chunk)))
                found |= {row.id: _times(row) for row in rows}
            return found

        return self._database.read(work)

    def end(self, session_id: int) -> None:
        self._database.timed(lambda c, now: end(c, session_id, now=now))

    def older_at_work(self, *, before: str) -> bool:
        """Whether processes of before a revision of the catalog have sessions."""
        return self._database.read(lambda c: bool(at_work(c, now=self._database.now(c), before=before)))

    def announce(self, session_id: int, names: Sequence[str], *, storage: str = DEFAULT_TARGET) -> None:
        """Write intents for objects that are about to appear in a storage target."""
        self._database.timed(lambda c, now: announce(c, session_id, names, storage=storage, now=now))


def _times(row: Row[Any]) -> SessionTimes:
    return SessionTimes(
        started_at=from_micros(row.started_at),
        ended_at=optional_time(row.ended_at),
        expires_at=from_micros(row.expires_at),
    )


def begin(connection: Connection, dataset_id: int, kind: str, *, holder: str, until: int, now: int) -> int:
    _end_those_of_the_gone(connection, dataset_id, now=now)
    row = {"dataset_id": dataset_id, "kind": kind, "holder": marked(holder), "started_at": now, "expires_at": until}
    session_id: int = connection.execute(sessions.insert().returning(sessions.c.id), row).scalar_one()
    return session_id


def _end_those_of_the_gone(connection: Connection, dataset_id: int, *, now: int) -> None:
    """End the sessions of processes that have died on this machine, so that what they held is free at once."""
    s = sessions.c
    rows = connection.execute(select(s.id, s.holder, s.kind).where(s.dataset_id == dataset_id, alive(now))).all()
    for row in rows:
        if not is_gone(row.holder):
            continue
        ended = sessions.update().where(s.id == row.id, s.ended_at.is_(None)).values(ended_at=now)
        if connection.execute(ended).rowcount and row.kind in _LANDING:
            details = {"session": row.id, "reason": f"its process {shown(row.holder)} is gone"}
            audit.record(connection, dataset_id, actor="timestore", action=f"{row.kind}_failed", details=details, now=now)


def heartbeat(connection: Connection, session_id: int, *, until: int) -> None:
    # an expired session may come back: what it may still commit is decided by its intents and checkpoints
    statement = sessions.update().where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
    if connection.execute(statement.values(expires_at=until)).rowcount == 0:
        _require(connection, session_id)


def end(connection: Connection, session_id: int, *, now: int) -> None:
    statement = sessions.update().where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
    if connection.execute(statement.values(ended_at=now)).rowcount == 0:
        _require(connection, session_id)


def alive(now: int) -> ColumnElement[bool]:
    """Condition: the session has neither ended nor missed its heartbeats."""
    return and_(sessions.c.ended_at.is_(None), sessions.c.expires_at > now)


def is_alive(connection: Connection, session_id: int | None, *, now: int) -> bool:
    statement = select(sessions.c.id).where(sessions.c.id == session_id, alive(now))
    return session_id is not None and connection.execute(statement).first() is not None


def announce(connection: Connection, session_id: int, names: Sequence[str], *, storage: str, now: int) -> None:
    _require(connection, session_id)
    rows = [{"name": name, "session_id": session_id, "created_at": now, "storage": storage} for name in names]
    if insert_ignore(connection, intents, *rows) < len(rows):
        taken = _count(connection, session_id, names)
        if taken < len(set(names)):
            raise ConflictError("another session has announced an object of the same name; use a new attempt id")


_FULFIL = delete(intents).where(
    intents.c.name.in_(bindparam("names", expanding=True)), intents.c.session_id == bindparam("of_session")
)


def fulfil(connection: Connection, session_id: int, names: Collection[str]) -> None:
    """Remove the intents of what is being committed.

    Raises:
        ConflictError: one is gone, so the collector may already have removed its file.
    """
    removed = 0
    for chunk in chunked(sorted(set(names))):
        removed += connection.execute(_FULFIL, {"names": chunk, "of_session": session_id}).rowcount
    if removed < len(set(names)):
        raise ConflictError(f"session {session_id} was taken for dead and its files were collected; nothing was committed")


def _count(connection: Connection, session_id: int, names: Sequence[str]) -> int:
    found = 0
    for chunk in chunked(sorted(set(names))):
        statement = select(intents.c.name).where(intents.c.name.in_(chunk), intents.c.session_id == session_id)
        found += len(connection.execute(statement).all())
    return found


_SESSION = select(sessions.c.id).where(sessions.c.id == bindparam("wanted"))


def _require(connection: Connection, session_id: int) -> None:
    if connection.execute(_SESSION, {"wanted": session_id}).first() is None:
        raise ForgottenError(f"the catalog has no session {session_id}: it was collected meanwhile")
