"""What the catalog forgets in time, so that it is as small in its third year as in its first.

Every step is a transaction of `AT_ONCE` rows at most, so that nobody waits for it. What makes landing exactly once is not here:
checkpoints, and the identity of files, stay for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Table, and_, case, cast, delete, exists, func, or_, select, tuple_
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog.audit import ROUTINE
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.datasets import lock_any
from timestore_assets.catalog.instants import duration_micros
from timestore_assets.catalog.leases import held
from timestore_assets.catalog.sessions import alive
from timestore_assets.catalog.sources import KEPT_SECONDS
from timestore_assets.catalog.stored_objects import note_collected
from timestore_assets.catalog.tables import (
    alert_messages,
    audit,
    datasets,
    dead_letter_files,
    files,
    idempotency_keys,
    ingestions,
    intents,
    landed_rows,
    lost_offsets,
    outbox,
    retractions,
    sessions,
    source_partitions,
    sources,
)
from timestore_assets.model.segment import ObjectName
from timestore_assets.model.source_kinds import SOURCE_KINDS, has_partitions_of_sessions

AT_ONCE = 1000
NEWEST = timedelta(hours=1)
"""Nothing younger goes, whatever is asked for: a commit in doubt is settled by its audit row, a paused process comes back."""
_UNSETTLED = ("pending", "landing")


class Trimming:
    """Each method forgets all there is of one kind and returns how many rows that were. Safe at any time, beside anything."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def audit(self, *, older_than: timedelta) -> int:
        """Routine: that batches landed, partitions were built, landing paused. Whatever else happened, or people did, stays."""
        a = audit.c
        return self._all(lambda c, now: _some(c, audit, a.action.in_(ROUTINE), a.at < _before(now, older_than)))

    def sessions(self, *, older_than: timedelta) -> int:
        """Sessions that ended, or died, and that neither an object under way, a request nor a file still waits for."""
        return self._all(lambda c, now: _some_sessions(c, before=_before(now, older_than), now=now))

    def source_partitions(self) -> int:
        """Those of sessions that have been forgotten: nothing will ever land from them again."""
        p = source_partitions.c
        kinds = [kind for kind in SOURCE_KINDS if has_partitions_of_sessions(kind)]
        of_sessions = select(sources.c.id).where(sources.c.kind.in_(kinds))
        # a case, because a database may look at a condition before the one that keeps it from text without a number
        session_id = case((p.name.like("session-%"), cast(func.substr(p.name, len("session-") + 1), BigInteger)))
        forgotten = p.source_id.in_(of_sessions), session_id.is_not(None), ~exists().where(sessions.c.id == session_id)
        return self._all(lambda c, _: _some(c, source_partitions, *forgotten))

    def events(self, *, older_than: timedelta) -> int:
        """Events for Dagster that no relay has fetched: where Dagster does not run, nobody ever will."""
        o = outbox.c

        def step(connection: Connection, now: int) -> int:
            free = or_(o.claimed_until.is_(None), o.claimed_until <= now)
            return _some(connection, outbox, o.created_at < _before(now, older_than), free)

        return self._all(step)

    def alert_messages(self, *, older_than: timedelta) -> int:
        """Those that were sent, or given up."""
        m = alert_messages.c
        return self._all(lambda c, now: _some(c, alert_messages, m.sent_at < _before(now, older_than)))

    def lost_offsets(self, *, older_than: timedelta) -> int:
        """Ranges whose loss was accepted and that landing has gone past; the audit keeps them."""
        lo = lost_offsets.c
        return self._all(lambda c, now: _some(c, lost_offsets, lo.skipped, lo.accepted, lo.found_at < _before(now, older_than)))

    def retractions(self) -> int:
        """Those whose rows are gone from every version that can still be read."""
        return self._all(lambda c, _: _some_retractions(c))

    def throughput(self) -> int:
        """Rows a second of sources that have gone quiet, older than anybody can ask for."""
        seconds = landed_rows.c.second
        return self._all(lambda c, now: _some(c, landed_rows, seconds < now // 1_000_000 - KEPT_SECONDS))

    def idempotency_keys(self, *, older_than: timedelta) -> int:
        """Keys of so long ago, but for those whose answer is still kept. Their records would land again from then on."""
        key = idempotency_keys.c
        answered = exists().where(ingestions.c.dataset_id == key.dataset_id, ingestions.c.key == key.key)
        return self._all(lambda c, now: _some(c, idempotency_keys, key.created_at < _before(now, older_than), ~answered))

    def dead_letters(self, *, older_than: timedelta) -> list[ObjectName]:
        """Some dead-letter objects whose records a replay has disposed of so long ago; their files may then go.

        Ask again until there are none: what was forgotten and not removed is an orphan for the next collection.
        """

        def work(connection: Connection) -> list[ObjectName]:
            f = dead_letter_files.c
            settled = select(f.id).where(f.settled_at < _before(self._database.now(connection), older_than))
            gone = delete(dead_letter_files).where(f.id.in_(settled.order_by(f.id).limit(AT_ONCE)))
            names = sorted(ObjectName(*row) for row in connection.execute(gone.returning(f.storage, f.name)))
            note_collected(connection, names)
            return names

        return self._database.write(work, repeatable=False)

    def _all(self, step: Callable[[Connection, int], int]) -> int:
        total = 0
        while gone := self._database.write(lambda connection: step(connection, self._database.now(connection))):
            total += gone
        return total


def _before(now: int, age: timedelta) -> int:
    return now - duration_micros(max(age, NEWEST))


def _some(connection: Connection, table: Table, *conditions: ColumnElement[bool] | Any) -> int:
    """Forget the first rows, by key, that meet the conditions; returns how many."""
    key = list(table.primary_key)
    chosen = select(*key).where(and_(*conditions)).order_by(*key).limit(AT_ONCE)
    which = key[0] if len(key) == 1 else tuple_(*key)
    return connection.execute(delete(table).where(which.in_(chosen))).rowcount


def _some_retractions(connection: Connection) -> int:
    r = retractions.c
    collected = select(datasets.c.collected_version).where(datasets.c.id == r.dataset_id).scalar_subquery()
    # a lease that has run out counts until the collector drops it
    done = and_(r.removed_version <= collected, ~held(r.dataset_id, r.added_version, r.removed_version))
    # as the collector does: whoever pins a version that another lease still holds takes the same lock
    locked = connection.execute(select(r.dataset_id).where(done).distinct().order_by(r.dataset_id)).scalars().all()
    for dataset_id in locked:
        lock_any(connection, dataset_id)
    return _some(connection, retractions, done, r.dataset_id.in_(locked)) if locked else 0


def _some_sessions(connection: Connection, *, before: int, now: int) -> int:
    s = sessions.c
    waited_for = [
        exists().where(intents.c.session_id == s.id),
        exists().where(ingestions.c.session_id == s.id),
        exists().where(files.c.session_id == s.id, files.c.state.in_(_UNSETTLED)),
    ]
    old = and_(~alive(now), s.expires_at < before, or_(s.ended_at.is_(None), s.ended_at < before))
    statement = select(s.id).where(old, *(~one for one in waited_for)).order_by(s.id).limit(AT_ONCE)
    ids: Sequence[int] = connection.execute(statement).scalars().all()
    # which session landed a settled file is of no use to anybody
    connection.execute(files.update().where(files.c.session_id.in_(ids)).values(session_id=None))
    return connection.execute(delete(sessions).where(s.id.in_(ids))).rowcount if ids else 0
