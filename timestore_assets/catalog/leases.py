"""Claims that expire by themselves: exclusive ones on a resource, and shared pins on a manifest version."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, delete, select

from timestore_assets.catalog import datasets
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import insert_ignore
from timestore_assets.catalog.records import Lease
from timestore_assets.catalog.tables import leases
from timestore_assets.model.errors import RefusedError


def acquire(connection: Connection, resource: str, *, holder: str, until: int, now: int) -> Lease | None:
    # a takeover makes a new row with a new id, so that the former holder's renewal finds nothing
    connection.execute(delete(leases).where(leases.c.resource == resource, leases.c.expires_at <= now))
    insert_ignore(connection, leases, {"resource": resource, "holder": holder, "expires_at": until})
    found = connection.execute(select(leases).where(leases.c.resource == resource)).one_or_none()
    if found is None or found.holder != holder:
        return None
    return renew(
        connection, Lease(id=found.id, resource=resource, holder=holder, expires_at=from_micros(until)), until=until, now=now
    )


def renew(connection: Connection, lease: Lease, *, until: int, now: int) -> Lease | None:
    """None when it expired, even if nobody took it: a pinned version may have been collected since."""
    own = leases.update().where(leases.c.id == lease.id, leases.c.holder == lease.holder, leases.c.expires_at > now)
    if connection.execute(own.values(expires_at=until)).rowcount == 0:
        return None
    return Lease(id=lease.id, resource=lease.resource, holder=lease.holder, expires_at=from_micros(until))


def release(connection: Connection, lease: Lease) -> None:
    connection.execute(delete(leases).where(leases.c.id == lease.id, leases.c.holder == lease.holder))


def pin(connection: Connection, dataset_id: int, *, version: int | None, holder: str, until: int) -> tuple[int, Lease]:
    """Keep a manifest version readable, see `Catalog.pin`."""
    dataset = datasets.lock(connection, dataset_id)
    pinned = dataset.manifest_version if version is None else version
    if not 0 <= pinned <= dataset.manifest_version:
        raise RefusedError(f"dataset {dataset.name!r} has no version {pinned}; the newest is {dataset.manifest_version}")
    if pinned < dataset.collected_version:
        raise RefusedError(
            f"version {pinned} of dataset {dataset.name!r} has been collected; "
            f"the oldest that can be read is {dataset.collected_version}"
        )
    resource = f"query:{dataset_id}:{uuid.uuid4().hex}"
    row = {"resource": resource, "holder": holder, "expires_at": until, "dataset_id": dataset_id, "version": pinned}
    lease_id: int = connection.execute(leases.insert().returning(leases.c.id), row).scalar_one()
    return pinned, Lease(id=lease_id, resource=resource, holder=holder, expires_at=from_micros(until))
