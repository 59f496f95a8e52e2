"""Tells the receiver what the audit has, from where the cursor stands: at least once, in order, and apart from all landing.

The audit is the queue, so nothing waits in memory and nothing grows when the receiver is down. The cursor moves on once a round's
events are taken; when the process dies before, the same events are sent again, with the same run ids and the same times.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING

from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.catalog.sessions import SessionTimes
from timestore_assets.lineage.runs import OpenRuns, Run, RunNews, news_of, open_runs_from_plain, open_runs_to_plain
from timestore_assets.model.errors import RefusedError, TimestoreError, UnavailableError
from timestore_assets.model.window import Window

if TYPE_CHECKING:
    from timestore_assets.catalog.event_cursors import AuditRow, EventCursor
    from timestore_assets.lineage.receivers import Receiver
    from timestore_assets.lineage.run_events import RunEvents, Table
    from timestore_assets.warehouse import Warehouse

LOG = logging.getLogger(__name__)

CONSUMER = "openlineage"
ROWS_A_ROUND = 100
"""Few enough that a receiver that fails in the middle gets little twice."""
ROUNDS = 50
"""Of one call; the rest waits for the next."""
_LEASE = timedelta(seconds=30)
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(kw_only=True, slots=True)
class Emitted:
    """What one call did. `refused`: events that the receiver will never take, and that were left out."""

    sent: int = 0
    refused: int = 0
    open_runs: int = 0
    began: bool = False
    """It was the first call: what is in the audit already is not sent."""
    problem: str = ""
    """Why it stopped before the end; the rest is tried again."""


def emit(warehouse: Warehouse, *, at_once: bool = False) -> Emitted:
    """Send what is new; nothing is done without a receiver, or while another process does it.

    `at_once`: also while a pause after a failure lasts.

    Raises:
        InputError: the receiver's setting is wrong. MissingExtraError: its package is not installed.
    """
    from timestore_assets.lineage.receivers import receiver_of

    receiver = receiver_of(warehouse.settings)
    done = Emitted()
    if receiver is None:
        return done
    with closing(receiver), LeaseKeeper(warehouse.catalog) as keeper:
        # two in one process are rivals too
        if keeper.hold(CONSUMER, holder=f"{warehouse.holder}:{token_hex(4)}", ttl=_LEASE) is not None:
            _emit(_Emitter.over(warehouse, receiver), done, at_once=at_once)
    return done


def emit_again(warehouse: Warehouse, since: datetime) -> Emitted:
    """Send all of that time and later once more, wherever the cursor is; errors as `emit`, and UnavailableError."""
    from timestore_assets.lineage.receivers import receiver_of

    receiver = receiver_of(warehouse.settings)
    done = Emitted()
    if receiver is None:
        return done
    with closing(receiver):
        emitter = _Emitter.over(warehouse, receiver)
        place = _Place(audit_id=warehouse.catalog.event_cursors.before(since))
        while True:
            told = emitter.round(place, done)
            if told == place:
                return done
            place = told


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """How far the audit has been told, and the runs that are open there."""

    audit_id: int
    runs: OpenRuns = field(default_factory=dict)


def _emit(emitter: _Emitter, done: Emitted, *, at_once: bool) -> None:
    cursors = emitter.warehouse.catalog.event_cursors
    for _ in range(ROUNDS):
        cursor = cursors.of(CONSUMER)
        if cursor.revision == 0:
            done.began = cursors.advance(CONSUMER, cursor, audit_id=cursor.audit_id, state={})
            return
        if not at_once and cursor.due_at > datetime.now(UTC):
            return
        place = _Place(audit_id=cursor.audit_id, runs=open_runs_from_plain(cursor.state.get("runs", {})))
        done.open_runs = len(place.runs)
        try:
            told = emitter.round(place, done)
        except UnavailableError as error:
            _postpone(emitter.warehouse, cursor, error)
            done.problem = str(error)
            return
        done.open_runs = len(told.runs)
        if told == place and not cursor.attempts:
            return
        if not cursors.advance(CONSUMER, cursor, audit_id=told.audit_id, state={"runs": open_runs_to_plain(told.runs)}):
            return


def _postpone(warehouse: Warehouse, cursor: EventCursor, error: TimestoreError) -> None:
    pause = min(_FIRST_PAUSE * 2 ** min(cursor.attempts, 10), _LONGEST_PAUSE)
    LOG.warning("OpenLineage: %s; it is tried again in %d s", error, pause.total_seconds())
    warehouse.catalog.event_cursors.postpone(CONSUMER, cursor, pause)


@dataclass(kw_only=True, slots=True)
class _Emitter:
    warehouse: Warehouse
    receiver: Receiver
    events: RunEvents
    tables: dict[str, Table] = field(default_factory=dict)

    @classmethod
    def over(cls, warehouse: Warehouse, receiver: Receiver) -> _Emitter:
        from timestore_assets.lineage.run_events import RunEvents

        events = RunEvents(settings=warehouse.settings, warehouse=warehouse.catalog.identity.known_id() or "")
        return cls(warehouse=warehouse, receiver=receiver, events=events)

    def round(self, place: _Place, done: Emitted) -> _Place:
        """Read on, and send what that tells; where it comes to."""
        catalog = self.warehouse.catalog
        # in this order: what had ended by now has all its rows among those that are read
        before = catalog.sessions.times(place.runs.keys())
        found = catalog.event_cursors.behind(place.audit_id, limit=ROWS_A_ROUND)
        news, runs = news_of(place.runs, found, before=before, after=self._times(found.rows, place.runs))
        self.tables.clear()
        for one in news:
            self._send(one, done)
        return replace(place, audit_id=found.rows[-1].id if found.rows else place.audit_id, runs=runs)

    def _times(self, rows: Sequence[AuditRow], known: OpenRuns) -> Mapping[int, SessionTimes]:
        named = {row.details["session"] for row in rows if isinstance(row.details.get("session"), int)}
        return self.warehouse.catalog.sessions.times(named - known.keys())

    def _send(self, news: RunNews, done: Emitted) -> None:
        event = self.events.event(news, self._table(news.run))
        try:
            self.receiver.send(event)
        except RefusedError as error:
            LOG.warning("OpenLineage: an event of job %s was left out: %s", event.job.name, error)
            done.refused += 1
        else:
            done.sent += 1

    def _table(self, run: Run) -> Table:
        from timestore_assets.lineage.run_events import Table

        if run.dataset not in self.tables:
            record = self.warehouse.catalog.datasets.find(run.dataset)
            self.tables[run.dataset] = Table(
                name=run.dataset,
                declared=self.warehouse.datasets.get(run.dataset),
                schema=record.schema if record else None,
                window=Window(record.definition["window"]) if record else None,
            )
        return self.tables[run.dataset]
