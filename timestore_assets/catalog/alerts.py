"""How declared alerts stand, and the messages about them that channels have not taken yet.

An alert turns by compare and set, in one transaction with its messages: however many processes look, one of them tells.
A message is claimed by moving the time at which it is due; who sends it marks it, and what was not marked is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from timestore_assets.catalog import audit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, later
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.tables import alert_messages, alert_states
from timestore_assets.catalog.versioned_rows import locked

ACTOR = "alerts"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertState:
    """`value`: what was measured when it turned, as text; of `schema` the version that people were told of."""

    is_firing: bool
    value: str
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertMessage:
    """`key`: of what it tells; a channel gets no two messages with the same. `attempts`: made so far, with this one."""

    id: int
    channel: str
    key: str
    payload: Mapping[str, Any]
    attempts: int
    created_at: datetime


class Alerts:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def states(self, dataset_id: int) -> dict[str, AlertState]:
        """How the alerts of a dataset stand, by `Alert.key`; those that were never looked at are missing."""
        statement = select(alert_states).where(alert_states.c.dataset_id == dataset_id)
        return self._database.read(lambda c: {row.alert: _state(row) for row in c.execute(statement)})

    def firing(self, dataset_ids: Collection[int]) -> Mapping[int, frozenset[str]]:
        """Keys of the alerts that fire, by dataset, in one look; also of alerts that nobody declares any more."""
        c = alert_states.c

        def read(connection: Connection) -> dict[int, frozenset[str]]:
            found: dict[int, frozenset[str]] = {}
            for ids in chunked(dataset_ids):
                statement = select(c.dataset_id, c.alert).where(c.dataset_id.in_(ids), c.is_firing)
                for row in connection.execute(statement):
                    found[row.dataset_id] = found.get(row.dataset_id, frozenset()) | {row.alert}
            return found

        return self._database.read(read)

    def turn(
        self,
        dataset_id: int,
        alert: str,
        *,
        before: AlertState | None,
        is_firing: bool,
        value: str,
        channels: Sequence[str],
        payload: Mapping[str, Any],
    ) -> bool:
        """Let an alert begin or end and queue its messages; False when it does not stand as `before` any more.

        `channels`: none where nobody is to be told. The messages get the moment as `at`.
        """

        def work(connection: Connection) -> bool:
            now = self._database.now(connection)
            key = {"dataset_id": dataset_id, "alert": alert}
            values = {"is_firing": is_firing, "value": value, "since": now}
            row = locked(connection, alert_states, key)
            if (None if row is None else _state(row)) != before:
                return False
            if row is None:
                if not insert_ignore(connection, alert_states, {**key, **values}):
                    return False
            else:
                c = alert_states.c
                connection.execute(alert_states.update().where(c.dataset_id == dataset_id, c.alert == alert).values(values))
            for channel in channels:
                queue(connection, channel, f"{dataset_id}/{alert}/{now}", payload, now=now)
            if channels:
                action = "alert_raised" if is_firing else "alert_recovered"
                audit.record(
                    connection, dataset_id, actor=ACTOR, action=action, details={"alert": alert, "value": value}, now=now
                )
            return True

        return self._database.write(work)

    def tell(self, channel: str, key: str, payload: Mapping[str, Any]) -> bool:
        """Queue a message that no declared alert is the reason of; False when the channel got one with this key before."""
        return self._database.timed(lambda connection, now: queue(connection, channel, key, payload, now=now))

    def claim(self, *, limit: int, ttl: timedelta) -> list[AlertMessage]:
        """Messages that are due, oldest first; they are due again after `ttl` unless they are marked before."""
        return self._database.timed(lambda connection, now: _claim(connection, limit=limit, until=later(now, ttl), now=now))

    def sent(self, message_id: int) -> None:
        """The channel has taken it."""
        self._database.timed(lambda connection, now: _change(connection, message_id, sent_at=now))

    def postpone(self, message_id: int, pause: timedelta) -> None:
        """The channel did not take it; it is due again after a pause."""
        self._database.timed(lambda connection, now: _change(connection, message_id, due_at=later(now, pause)))

    def give_up(self, message: AlertMessage, reason: str) -> None:
        """Nobody tries it any more; the audit says so."""

        def work(connection: Connection, now: int) -> None:
            _change(connection, message.id, sent_at=now)
            details = {"channel": message.channel, "reason": reason, **message.payload}
            audit.record(connection, None, actor=ACTOR, action="alert_undelivered", details=details, now=now)

        self._database.timed(work)


def queue(connection: Connection, channel: str, key: str, payload: Mapping[str, Any], *, now: int) -> bool:
    """Queue a message; False when the channel got one with this key before."""
    told = json.dumps({**payload, "at": from_micros(now).isoformat().replace("+00:00", "Z")})
    row = {"channel": channel, "key": key, "payload": told, "attempts": 0, "due_at": now, "created_at": now}
    return bool(insert_ignore(connection, alert_messages, row))


def _change(connection: Connection, message_id: int, **values: int) -> None:
    connection.execute(alert_messages.update().where(alert_messages.c.id == message_id).values(values))


def _claim(connection: Connection, *, limit: int, until: int, now: int) -> list[AlertMessage]:
    c = alert_messages.c
    waiting = (
        select(alert_messages)
        .where(c.due_at <= now, c.sent_at.is_(None))
        .order_by(c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(waiting).all()
    mine = alert_messages.update().where(c.id.in_([row.id for row in rows]))
    connection.execute(mine.values(due_at=until, attempts=c.attempts + 1))
    return [
        AlertMessage(
            id=row.id,
            channel=row.channel,
            key=row.key,
            payload=json.loads(row.payload),
            attempts=row.attempts + 1,
            created_at=from_micros(row.created_at),
        )
        for row in rows
    ]


def _state(row: Any) -> AlertState:
    return AlertState(is_firing=row.is_firing, value=row.value, since=from_micros(row.since))
