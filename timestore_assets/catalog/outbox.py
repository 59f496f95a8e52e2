"""Events for Dagster, queued by the transaction they tell about and reported by whichever relay claims them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.former_names import shown_name
from timestore_assets.catalog.instants import later
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import OutboxEvent
from timestore_assets.catalog.tables import datasets, outbox

Payload = Mapping[str, Any]


class Outbox:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, *, holder: str, limit: int, ttl: timedelta) -> list[OutboxEvent]:
        """Undelivered events in order, claimed so that no two relays report the same."""
        return self._database.timed(lambda c, now: claim(c, holder=holder, limit=limit, until=later(now, ttl), now=now))

    def delivered(self, event_ids: Iterable[int]) -> None:
        """These have been reported, and leave."""
        ids = list(event_ids)
        if ids:
            self._database.write(lambda c: forget(c, ids))


def queue(connection: Connection, dataset_id: int, kind: str, payload: Payload, *, now: int) -> None:
    """Queue an event of its own."""
    queue_each(connection, dataset_id, kind, [payload], now=now)


def queue_each(connection: Connection, dataset_id: int, kind: str, payloads: Sequence[Payload], *, now: int) -> None:
    """Queue events of their own, in this order."""
    _insert(connection, dataset_id, kind, payloads, coalesce_by=None, now=now)


_UNCLAIMED = (
    select(outbox.c.id, outbox.c.payload)
    .where(
        outbox.c.dataset_id == bindparam("of_dataset"),
        outbox.c.coalesce_by == bindparam("by"),
        outbox.c.claimed_until.is_(None),
    )
    .with_for_update()
)
_MERGE = outbox.update().where(outbox.c.id == bindparam("waiting")).values(payload=bindparam("merged"))


def coalesce(
    connection: Connection,
    dataset_id: int,
    kind: str,
    payload: Payload,
    *,
    by: str,
    merge: Callable[[Payload, Payload], Payload],
    now: int,
) -> None:
    """Merge into the event of the same `by` that no relay has claimed yet, or queue a new one."""
    waiting = connection.execute(_UNCLAIMED, {"of_dataset": dataset_id, "by": by}).first()
    if waiting is None:
        _insert(connection, dataset_id, kind, [payload], coalesce_by=by, now=now)
        return
    merged = merge(json.loads(waiting.payload), payload)
    connection.execute(_MERGE, {"waiting": waiting.id, "merged": json.dumps(merged)})


def claim(connection: Connection, *, holder: str, limit: int, until: int, now: int) -> list[OutboxEvent]:
    """The oldest events nobody holds; rows that another relay is claiming at this moment are passed over."""
    free = or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now)
    statement = (
        select(outbox.c.id, datasets.c.name, outbox.c.kind, outbox.c.payload)
        .join_from(outbox, datasets)
        .where(free)
        .order_by(outbox.c.id)
        .limit(limit)
        .with_for_update(of=outbox, skip_locked=True)
    )
    events = [
        OutboxEvent(id=row.id, dataset=shown_name(row.name), kind=row.kind, payload=json.loads(row.payload))
        for row in connection.execute(statement)
    ]
    for ids in chunked(event.id for event in events):
        connection.execute(outbox.update().where(outbox.c.id.in_(ids)).values(claimed_by=holder, claimed_until=until))
    return events


def forget(connection: Connection, event_ids: Iterable[int]) -> None:
    """Delivered events leave."""
    for ids in chunked(event_ids):
        connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


def _insert(
    connection: Connection, dataset_id: int, kind: str, payloads: Sequence[Payload], *, coalesce_by: str | None, now: int
) -> None:
    rows = [
        {
            "dataset_id": dataset_id,
            "kind": kind,
            "coalesce_by": coalesce_by,
            "payload": json.dumps(payload),
            "created_at": now,
        }
        for payload in payloads
    ]
    if rows:
        connection.execute(outbox.insert(), rows)
