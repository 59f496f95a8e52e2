"""Sessions with their heartbeats, and the intents that announce objects before they are written."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, delete, or_, select
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.tables import intents, sessions
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.objects import ObjectName


def begin(connection: Connection, dataset_id: int, kind: str, *, holder: str, until: int, now: int) -> int:
    row = {"dataset_id": dataset_id, "kind": kind, "holder": holder, "started_at": now, "expires_at": until}
    session_id: int = connection.execute(sessions.insert().returning(sessions.c.id), row).scalar_one()
    return session_id


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


def fulfil(connection: Connection, session_id: int, names: Collection[str]) -> None:
    """Remove the intents of what is being committed.

    Raises:
        ConflictError: one is gone, so the collector may already have removed its file.
    """
    removed = 0
    for chunk in chunked(sorted(set(names))):
        found = delete(intents).where(intents.c.name.in_(chunk), intents.c.session_id == session_id)
        removed += connection.execute(found).rowcount
    if removed < len(set(names)):
        raise ConflictError(f"session {session_id} was taken for dead and its files were collected; nothing was committed")


def expire(connection: Connection, *, created_before: int, now: int) -> list[ObjectName]:
    """Remove old intents of dead sessions; returns their names."""
    dead = select(sessions.c.id).where(or_(sessions.c.ended_at.is_not(None), sessions.c.expires_at <= now))
    old = delete(intents).where(intents.c.created_at < created_before, intents.c.session_id.in_(dead))
    return sorted(ObjectName(*row) for row in connection.execute(old.returning(intents.c.storage, intents.c.name)))


def _count(connection: Connection, session_id: int, names: Sequence[str]) -> int:
    found = 0
    for chunk in chunked(sorted(set(names))):
        statement = select(intents.c.name).where(intents.c.name.in_(chunk), intents.c.session_id == session_id)
        found += len(connection.execute(statement).all())
    return found


def _require(connection: Connection, session_id: int) -> None:
    if connection.execute(select(sessions.c.id).where(sessions.c.id == session_id)).first() is None:
        raise KeyError(f"session {session_id}")
