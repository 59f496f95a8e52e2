"""How declared alerts stand, and the messages about them that channels have not taken yet.

An alert turns by compare and set, in one transaction with its messages: however many processes look, one of them tells.
A message is claimed by moving the time at which it is due; who sends it marks it, and what was not marked is sent again.
One whose channel nobody has set is not claimed: it waits, and costs no tries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit
from timestore_assets.catalog.channel_messages import queue
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import duration_micros, from_micros, later, optional_micros, optional_time, to_micros
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.tables import alert_messages, alert_states
from timestore_assets.catalog.versioned_rows import locked

ACTOR = "alerts"
_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertState:
    """`value`: what was measured when it turned, as text; of `schema` the version that people were told of."""

    is_firing: bool
    value: str
    since: datetime
    #: Since when its condition says otherwise, while `for` or `keep` have not passed yet.
    pending_since: datetime | None = None
    #: When people were told last; None also where that was before this was written down.
    told_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertStanding:
    """How the alerts of a dataset stand, each by `Alert.key`."""

    #: Those that were never looked at are missing.
    states: Mapping[str, AlertState]
    #: Messages that their channels have not taken yet.
    waiting: Mapping[str, int]
    #: By the catalog's clock, which all who look share.
    now: datetime


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

    def standing(self, dataset_id: int) -> AlertStanding:
        """How the alerts of a dataset stand now."""
        m = alert_messages.c
        keys = select(m.key).where(m.sent_at.is_(None), m.key.startswith(f"{dataset_id}/"))
        states = select(alert_states).where(alert_states.c.dataset_id == dataset_id)

        def work(connection: Connection) -> AlertStanding:
            return AlertStanding(
                states={row.alert: _state(row) for row in connection.execute(states)},
                waiting=Counter(key.split("/")[1] for key in connection.execute(keys).scalars()),
                now=from_micros(self._database.now(connection)),
            )

        return self._database.read(work)

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
        after: AlertState,
        channels: Sequence[str] = (),
        payload: Mapping[str, Any] | None = None,
        action: str | None = None,
    ) -> bool:
        """Let an alert stand otherwise and queue its messages; False when it does not stand as `before` any more.

        `channels`: none where nobody is to be told. The messages get the moment as `at`. `action`: what the audit calls it.
        """

        def work(connection: Connection, now: int) -> bool:
            key = {"dataset_id": dataset_id, "alert": alert}
            row = locked(connection, alert_states, key)
            if (None if row is None else _state(row)) != before:
                return False
            if row is None:
                if not insert_ignore(connection, alert_states, {**key, **_row(after)}):
                    return False
            else:
                c = alert_states.c
                connection.execute(alert_states.update().where(c.dataset_id == dataset_id, c.alert == alert).values(_row(after)))
            for channel in channels:
                queue(connection, channel, f"{dataset_id}/{alert}/{now}", payload or {}, now=now)
            if action is not None:
                details = {"alert": alert, "value": after.value}
                audit.record(connection, dataset_id, actor=ACTOR, action=action, details=details, now=now)
            return True

        return self._database.timed(work)

    def tell(self, channel: str, key: str, payload: Mapping[str, Any]) -> bool:
        """Queue a message that no declared alert is the reason of; False when the channel got one with this key before."""
        return self._database.timed(lambda connection, now: queue(connection, channel, key, payload, now=now))

    def claim(self, channels: Collection[str], *, limit: int, ttl: timedelta) -> list[AlertMessage]:
        """Messages to these channels that are due, oldest first; they are due again after `ttl` unless they are marked before."""
        return self._database.timed(
            lambda connection, now: _claim(connection, channels, limit=limit, until=later(now, ttl), now=now)
        )

    def hold(self, channels: Collection[str]) -> Mapping[str, int]:
        """Note what waits for other channels than these; how many messages by channel, each counted once, whoever asks."""
        c = alert_messages.c
        mine = alert_messages.update().where(c.sent_at.is_(None), c.held_at.is_(None), c.channel.not_in(channels))
        return self._database.timed(
            lambda connection, now: Counter(connection.execute(mine.values(held_at=now).returning(c.channel)).scalars())
        )

    def waiting(self) -> Mapping[str, int]:
        """How many messages were not taken yet, by channel."""
        c = alert_messages.c
        statement = select(c.channel).where(c.sent_at.is_(None))
        return Counter(self._database.read(lambda connection: connection.execute(statement).scalars().all()))

    def give_up_old(self, *, older_than: timedelta, reason: str) -> list[AlertMessage]:
        """Give up what nobody has taken for so long, and return it; some at a time."""
        c = alert_messages.c

        def work(connection: Connection, now: int) -> list[AlertMessage]:
            old = select(alert_messages).where(c.sent_at.is_(None), c.created_at < now - duration_micros(older_than))
            held = connection.execute(old.order_by(c.id).limit(_AT_ONCE).with_for_update(skip_locked=True))
            messages = [_message(row, attempts=row.attempts) for row in held]
            for message in messages:
                _give_up(connection, message, reason, now=now)
            return messages

        return self._database.timed(work)

    def sent(self, message_id: int) -> None:
        """The channel has taken it."""
        self._database.timed(lambda connection, now: _change(connection, message_id, sent_at=now))

    def postpone(self, message_id: int, pause: timedelta) -> None:
        """The channel did not take it; it is due again after a pause."""
        self._database.timed(lambda connection, now: _change(connection, message_id, due_at=later(now, pause)))

    def give_up(self, message: AlertMessage, reason: str) -> None:
        """Nobody tries it any more; the audit says so."""
        self._database.timed(lambda connection, now: _give_up(connection, message, reason, now=now))


def _change(connection: Connection, message_id: int, **values: int) -> None:
    connection.execute(alert_messages.update().where(alert_messages.c.id == message_id).values(values))


def _give_up(connection: Connection, message: AlertMessage, reason: str, *, now: int) -> None:
    _change(connection, message.id, sent_at=now)
    details = {"channel": message.channel, "reason": reason, **message.payload}
    audit.record(connection, None, actor=ACTOR, action="alert_undelivered", details=details, now=now)


def _claim(connection: Connection, channels: Collection[str], *, limit: int, until: int, now: int) -> list[AlertMessage]:
    c = alert_messages.c
    waiting = (
        select(alert_messages)
        .where(c.due_at <= now, c.sent_at.is_(None), c.channel.in_(channels))
        .order_by(c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(waiting).all()
    mine = alert_messages.update().where(c.id.in_([row.id for row in rows]))
    connection.execute(mine.values(due_at=until, attempts=c.attempts + 1))
    return [_message(row, attempts=row.attempts + 1) for row in rows]


def _message(row: Row[Any], *, attempts: int) -> AlertMessage:
    return AlertMessage(
        id=row.id,
        channel=row.channel,
        key=row.key,
        payload=json.loads(row.payload),
        attempts=attempts,
        created_at=from_micros(row.created_at),
    )


def _state(row: Row[Any]) -> AlertState:
    return AlertState(
        is_firing=row.is_firing,
        value=row.value,
        since=from_micros(row.since),
        pending_since=optional_time(row.pending_since),
        told_at=optional_time(row.told_at),
    )


def _row(state: AlertState) -> dict[str, Any]:
    return {
        "is_firing": state.is_firing,
        "value": state.value,
        "since": to_micros(state.since),
        "pending_since": optional_micros(state.pending_since),
        "told_at": optional_micros(state.told_at),
    }
