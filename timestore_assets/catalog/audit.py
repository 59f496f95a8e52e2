"""The audit log: one row for every commit that changed something, and the proof that a commit happened."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, ScalarSelect, Select, func, select

from timestore_assets.catalog import tables
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.former_names import shown_name
from timestore_assets.catalog.instants import duration_micros, from_micros, to_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.window import format_time

FAILURES = ("landing_failed", "replay_failed", "build_failed")
"""Work that ended by an error; what it had committed until then stands in rows of its own."""
ROUTINE = ("landed", "built", "file_duplicate", "landing_paused", "landing_resumed", *FAILURES)
"""Actions that happen by themselves, again and again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFilter:
    """Which rows of the audit are wanted: those that all of it fits."""

    partition: str | None = None
    """Key of a partition that the row names."""
    ticket: str | None = None
    """A ticket that the row names: of a migration, of the backfill that it asked for, or of builds that rewrote rows for it."""
    actions: tuple[str, ...] = ()
    """One of them; any when there is none."""
    actor: str | None = None
    """How the actor begins: `cli:`, `dagster run 4f…`."""
    since: datetime | None = None
    until: datetime | None = None
    """The first moment that is not wanted any more."""

    def narrow(self, statement: Select[Any]) -> Select[Any]:
        """A statement over the audit with what a database can tell; `fits` says the rest."""
        log = tables.audit.c
        if self.actions:
            statement = statement.where(log.action.in_(self.actions))
        if self.actor:
            statement = statement.where(log.actor.startswith(self.actor, autoescape=True))
        if self.since is not None:
            since = to_micros(self.since)
            statement = statement.where(log.at >= since, log.id >= _first_id(since - _DISORDER, _NEVER))
        if self.until is not None:
            until = to_micros(self.until)
            statement = statement.where(log.at < until, log.id <= _first_id(until + _DISORDER, _NEVER))
        for named in (self.partition, self.ticket):
            if named is not None:
                statement = statement.where(log.details.contains(json.dumps(named), autoescape=True))
        return statement

    def fits(self, details: Mapping[str, Any]) -> bool:
        fits_partition = self.partition is None or self.partition in partitions_of(details)
        return fits_partition and (self.ticket is None or self.ticket in tickets_of(details))

    @property
    def is_exact(self) -> bool:
        """Whether a database can tell all of it."""
        return self.partition is None and self.ticket is None


ANY = AuditFilter()
_AT_ONCE = 1000
_NEVER = 2**63 - 1
_DISORDER = duration_micros(timedelta(minutes=10))
"""Of two rows so far apart in time the later one has the greater id: no transaction lasts that long."""


def _first_id(at: int, otherwise: int) -> ScalarSelect[int]:
    """Id of the first row of that time or later, so that a range of time is a range of ids, which are read in order."""
    log = tables.audit.alias()
    first = select(log.c.id).where(log.c.at >= at).order_by(log.c.at).limit(1).scalar_subquery()
    return select(func.coalesce(first, otherwise)).scalar_subquery()


def partitions_of(details: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the partitions that a row names, below `partition` or `partitions`, where they may have a number each."""
    one, several = details.get("partition"), details.get("partitions")
    return ((one,) if isinstance(one, str) else ()) + (tuple(map(str, several)) if isinstance(several, list | dict) else ())


def tickets_of(details: Mapping[str, Any]) -> tuple[str, ...]:
    """The tickets that a row names: its own, that of what caused it, and those of a build."""
    cause = details.get("cause")
    own = (details.get("ticket"), cause.get("ticket") if isinstance(cause, Mapping) else None)
    return (*(one for one in own if isinstance(one, str)), *map(str, details.get("tickets") or ()))


class AuditLog:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(
        self,
        *,
        dataset_ids: Sequence[int] | None = None,
        limit: int = 100,
        before: int | None = None,
        only: AuditFilter = ANY,
    ) -> list[dict[str, Any]]:
        """The newest rows first, with their datasets' names; only those of these datasets, and older than the row `before`."""
        log = tables.audit.c
        statement = select(tables.audit, tables.datasets.c.name).outerjoin_from(tables.audit, tables.datasets)
        if dataset_ids is not None:
            statement = statement.where(log.dataset_id.in_(dataset_ids))
        statement = only.narrow(statement).order_by(log.id.desc())
        found: list[dict[str, Any]] = []
        while len(found) < limit:
            asked = limit if only.is_exact else _AT_ONCE
            rows = self._older(statement, before, asked)
            found += [row for row in map(_plain, rows) if only.fits(row["details"])]
            if len(rows) < asked:
                break
            before = rows[-1].id
        return found[:limit]

    def _older(self, statement: Select[Any], before: int | None, limit: int) -> Sequence[Row[Any]]:
        if before is not None:
            statement = statement.where(tables.audit.c.id < before)
        return self._database.read(lambda c: c.execute(statement.limit(limit)).all())

    def failed(self, dataset_id: int, action: str, reason: Exception, *, actor: str, **details: Any) -> None:
        """Note that work ended by an error; when the catalog is what failed, nobody is told here."""
        # only the sentences of our own errors are known to hold no secret
        words = str(reason) if isinstance(reason, TimestoreError) else type(reason).__name__
        told = details | {"reason": words}
        with suppress(TimestoreError):
            self._database.timed(lambda c, now: record(c, dataset_id, actor=actor, action=action, details=told, now=now))


def _plain(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": format_time(from_micros(row.at)),
        "dataset": None if row.name is None else shown_name(row.name),
        "actor": row.actor,
        "action": row.action,
        "manifest_version": row.manifest_version,
        "details": json.loads(row.details),
    }


def write_once(database: Database, work: Callable[[Connection, str, int], int], token: str | None = None) -> int:
    """A write that must happen exactly once: when the connection breaks during COMMIT, its audit row tells whether it did.

    `work`: is given the token to write that row with, and the time; it returns the manifest version that it left. `token`: one
    that the caller knows too, so that it can ask `committed` itself.
    """
    token = token or uuid.uuid4().hex
    return database.write(
        lambda connection: work(connection, token, database.now(connection)),
        settle=lambda connection: committed(connection, token),
    )


def record(
    connection: Connection,
    dataset_id: int | None,
    *,
    actor: str,
    action: str,
    details: Mapping[str, Any],
    now: int,
    token: str | None = None,
    manifest_version: int | None = None,
) -> None:
    """Write a row; `token` names the commit it belongs to, see `committed`."""
    row = AuditEntry(actor=actor, action=action, details=details, token=token, manifest_version=manifest_version)
    record_each(connection, dataset_id, [row], now=now)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """What `record` writes, of several commits in one transaction."""

    actor: str
    action: str
    details: Mapping[str, Any]
    token: str | None
    manifest_version: int | None


def record_each(connection: Connection, dataset_id: int | None, rows: Sequence[AuditEntry], *, now: int) -> None:
    """Write rows in their order."""
    written = [
        {
            "at": now,
            "dataset_id": dataset_id,
            "actor": row.actor,
            "action": row.action,
            "details": json.dumps(row.details, separators=(",", ":")),
            "token": row.token,
            "manifest_version": row.manifest_version,
        }
        for row in rows
    ]
    connection.execute(tables.audit.insert(), written)


def committed(connection: Connection, token: str) -> int | None:
    """The manifest version that the commit of that token left, None when it was not committed.

    A transaction in doubt that has written the token may still be about to commit: writing it once more waits for its end.
    """
    probe = {"at": 0, "actor": "timestore", "action": "settling", "details": "{}", "token": token}
    with connection.begin_nested() as attempt:
        insert_ignore(connection, tables.audit, probe)
        attempt.rollback()
    version: int | None = connection.execute(
        select(tables.audit.c.manifest_version).where(tables.audit.c.token == token)
    ).scalar_one_or_none()
    return version
