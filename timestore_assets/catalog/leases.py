"""Leases: exclusive claims on a resource that expire by themselves, and pins that keep a manifest version readable.

A version can be read whole when it is not below the collected one, or a lease holds it: one predicate for who pins, who collects
and who trims. Each of them locks the dataset's row first, so none can come between the question and the answer of another.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, exists, select
from sqlalchemy.sql import ColumnElement

from timestore_assets.catalog import datasets, tables, topics
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.holders import is_gone
from timestore_assets.catalog.instants import from_micros, later
from timestore_assets.catalog.portable import chunked, insert_ignore
from timestore_assets.catalog.records import Lease, TopicPartition
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.tables import leases
from timestore_assets.model.errors import UnreadableVersionError

_d = tables.datasets.c
_NEWEST = select(_d.manifest_version, _d.floor_version, _d.dropped_at).where(_d.id == bindparam("id"))


class Leases:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, resource: str, *, holder: str, ttl: timedelta) -> Lease | None:
        """The lease, or None while somebody else's is alive. An expired one is taken over."""
        return self._database.timed(lambda c, now: acquire(c, resource, holder=holder, until=later(now, ttl), now=now))

    def renew(self, lease: Lease, *, ttl: timedelta) -> Lease | None:
        """The lease as it is now, None when it was lost."""
        return self._database.timed(lambda c, now: renew(c, lease, until=later(now, ttl), now=now))

    def release(self, lease: Lease) -> None:
        own = delete(leases).where(leases.c.id == lease.id, leases.c.holder == lease.holder)
        self._database.write(lambda c: c.execute(own))

    def acquire_each(self, resources: Sequence[str], *, holder: str, ttl: timedelta) -> list[Lease]:
        """The leases of those resources that nobody else holds."""
        return self._database.timed(lambda c, now: acquire_each(c, resources, holder=holder, until=later(now, ttl), now=now))

    def renew_all(self, held: Sequence[Lease], *, ttl: timedelta) -> bool:
        """Whether all of them are still ours, and last from now on."""
        return self._database.timed(lambda c, now: renew_all(c, held, until=later(now, ttl), now=now))

    def release_all(self, held: Sequence[Lease]) -> None:
        """Release leases of one holder."""
        self._database.write(lambda c: _release_all(c, held))


def acquire(connection: Connection, resource: str, *, holder: str, until: int, now: int) -> Lease | None:
    # a takeover makes a new row with a new id, so that the former holder's renewal finds nothing
    connection.execute(delete(leases).where(leases.c.resource == resource, leases.c.expires_at <= now))
    row = {"resource": resource, "holder": holder, "expires_at": until}
    insert_ignore(connection, leases, row)
    present = connection.execute(select(leases).where(leases.c.resource == resource)).one_or_none()
    if present is not None and present.holder != holder and is_gone(present.holder):
        connection.execute(delete(leases).where(leases.c.id == present.id, leases.c.holder == present.holder))
        insert_ignore(connection, leases, row)
        present = connection.execute(select(leases).where(leases.c.resource == resource)).one_or_none()
    if present is None or present.holder != holder:
        return None
    return renew(
        connection, Lease(id=present.id, resource=resource, holder=holder, expires_at=from_micros(until)), until=until, now=now
    )


def renew(connection: Connection, lease: Lease, *, until: int, now: int) -> Lease | None:
    """None when it expired, even if nobody took it: a pinned version may have been collected since."""
    own = leases.update().where(leases.c.id == lease.id, leases.c.holder == lease.holder, leases.c.expires_at > now)
    if connection.execute(own.values(expires_at=until)).rowcount == 0:
        return None
    return Lease(id=lease.id, resource=lease.resource, holder=lease.holder, expires_at=from_micros(until))


def acquire_each(connection: Connection, resources: Sequence[str], *, holder: str, until: int, now: int) -> list[Lease]:
    """As `acquire` for each of them, in a few statements: one that somebody else holds is left out."""
    c = leases.c
    held: list[Lease] = []
    # in one order, so that two who want the same don't wait for each other
    for chunk in chunked(sorted(set(resources))):
        connection.execute(delete(leases).where(c.resource.in_(chunk), c.expires_at <= now))
        insert_ignore(connection, leases, *({"resource": one, "holder": holder, "expires_at": until} for one in chunk))
        connection.execute(leases.update().where(c.resource.in_(chunk), c.holder == holder).values(expires_at=until))
        for row in connection.execute(select(c.id, c.resource, c.holder).where(c.resource.in_(chunk)).order_by(c.id)).all():
            if row.holder == holder:
                held.append(Lease(id=row.id, resource=row.resource, holder=holder, expires_at=from_micros(until)))
            elif is_gone(row.holder) and (own := acquire(connection, row.resource, holder=holder, until=until, now=now)):
                held.append(own)
    return held


def renew_all(connection: Connection, held: Sequence[Lease], *, until: int, now: int) -> bool:
    """False when one of them is lost, see `renew`."""
    c = leases.c
    renewed = 0
    for ids in chunked(one.id for one in held):
        own = leases.update().where(c.id.in_(ids), c.holder == held[0].holder, c.expires_at > now)
        renewed += connection.execute(own.values(expires_at=until)).rowcount
    return renewed == len(held)


def _release_all(connection: Connection, held: Sequence[Lease]) -> None:
    for ids in chunked(one.id for one in held):
        connection.execute(delete(leases).where(leases.c.id.in_(ids), leases.c.holder == held[0].holder))


class ReadableVersions:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def pin(self, dataset_id: int, *, version: int | None, holder: str, ttl: timedelta) -> tuple[int, Lease]:
        """Pin a version (None = newest) against collection.

        Raises:
            UnreadableVersionError: it has been collected and no lease holds it, or it never was. UnwritableError: the catalog
                takes no writes now; see `look`.
        """
        seen = self._progress.seen
        pinned = self._database.timed(
            lambda c, now: pin(c, dataset_id, version=version, holder=holder, until=later(now, ttl), now=now)
        )
        if version is None:
            self._progress.note(dataset_id, pinned[0], seen)
        return pinned

    def pin_with_topics(self, dataset_id: int, *, holder: str, ttl: timedelta) -> tuple[int, Lease, list[TopicPartition]]:
        """Pin the newest version, with the checkpoints of the dataset's topic partitions at exactly that version."""

        def work(c: Connection, now: int) -> tuple[int, Lease, list[TopicPartition]]:
            version, lease = pin(c, dataset_id, version=None, holder=holder, until=later(now, ttl), now=now)
            return version, lease, topics.of_dataset(c, dataset_id, now=now)

        seen = self._progress.seen
        pinned = self._database.timed(work)
        self._progress.note(dataset_id, pinned[0], seen)
        return pinned

    def newest(self, dataset_id: int) -> int | None:
        """The newest version, None when there is none to pin: one row is read."""
        seen = self._progress.seen
        row = self._database.read(lambda c: c.execute(_NEWEST, {"id": dataset_id}).one_or_none())
        if row is None or row.dropped_at is not None or row.manifest_version < row.floor_version:
            return None
        self._progress.note(dataset_id, row.manifest_version, seen)
        return int(row.manifest_version)

    def look(self, dataset_id: int, *, version: int | None) -> tuple[int, list[TopicPartition]]:
        """What a pin with topics would give now, without holding it: a collection may forget that version at any time."""

        def work(c: Connection) -> tuple[int, list[TopicPartition]]:
            now = self._database.now(c)
            return look(c, dataset_id, version=version, now=now), topics.of_dataset(c, dataset_id, now=now)

        return self._database.read(work)


def pin(connection: Connection, dataset_id: int, *, version: int | None, holder: str, until: int, now: int) -> tuple[int, Lease]:
    """Keep a manifest version readable, see `ReadableVersions.pin`."""
    pinned = _readable(connection, datasets.lock(connection, dataset_id), version, now=now)
    resource = f"query:{dataset_id}:{uuid.uuid4().hex}"
    row = {"resource": resource, "holder": holder, "expires_at": until, "dataset_id": dataset_id, "version": pinned}
    lease_id: int = connection.execute(leases.insert().returning(leases.c.id), row).scalar_one()
    return pinned, Lease(id=lease_id, resource=resource, holder=holder, expires_at=from_micros(until))


def look(connection: Connection, dataset_id: int, *, version: int | None, now: int) -> int:
    """The version that a pin would hold now, without holding it; errors as `pin`."""
    return _readable(connection, datasets.row(connection, dataset_id), version, now=now)


def _readable(connection: Connection, dataset: Row[Any], version: int | None, *, now: int) -> int:
    pinned = dataset.manifest_version if version is None else version
    if not 0 <= pinned <= dataset.manifest_version:
        problem = f"dataset {dataset.name!r} has no version {pinned}; the newest is {dataset.manifest_version}"
        raise UnreadableVersionError(problem, never_was=True)
    require_readable(connection, dataset, pinned, now=now)
    return pinned


def require_readable(connection: Connection, dataset: Row[Any], version: int, *, now: int) -> None:
    """UnreadableVersionError when not all of a version is still there; `dataset`: its locked row."""
    if is_readable(connection, dataset, version, now=now):
        return
    what = "was erased" if version < dataset.floor_version else "has been collected"
    oldest = max(dataset.collected_version, dataset.floor_version)
    raise UnreadableVersionError(f"version {version} of dataset {dataset.name!r} {what}; the oldest that can be read is {oldest}")


def is_readable(connection: Connection, dataset: Row[Any], version: int, *, now: int) -> bool:
    """Whether all of a version is still there; `dataset`: its locked row. What was erased is not, whoever holds it."""
    if version < dataset.floor_version:
        return False
    if version >= dataset.collected_version:
        return True
    c = leases.c
    holding = select(c.id).where(c.dataset_id == dataset.id, c.version == version, c.expires_at > now)
    return connection.execute(holding.limit(1)).first() is not None


def forget_expired(connection: Connection, *, now: int) -> None:
    """Drop leases that have run out, so that whatever is left holds. One that is being renewed is waited for, and stays."""
    connection.execute(delete(leases).where(leases.c.expires_at <= now))


def held(dataset_id: ColumnElement[Any], added: ColumnElement[Any], removed: ColumnElement[Any]) -> ColumnElement[bool]:
    """Condition: a lease holds a version from `added` on and below `removed`, all three columns of what would be forgotten."""
    c = leases.c
    return exists().where(c.dataset_id == dataset_id, c.version >= added, c.version < removed)
