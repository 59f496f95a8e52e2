"""Partitions that expire: their segments leave the manifest in one transaction, which Dagster is told of.

The files stay as long as superseded ones do, so that a reader, a tag or a rollback finds them. What a legal hold keeps does not
expire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, select

from timestore_assets.catalog import audit, datasets, manifest, partitions
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.landed_places import landed_into
from timestore_assets.catalog.tables import partitions as partitions_table
from timestore_assets.catalog.tables import segments, tags
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.window import Partition


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpiredPartition:
    """What left the manifest with a partition, and at which version."""

    partition: str
    reason: str
    rows: int
    bytes: int
    segments: int
    manifest_version: int


class Expiry:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def expire(self, dataset_id: int, partition: Partition, *, reason: str, actor: str) -> ExpiredPartition | None:
        """Take a partition out of the manifest at a new version; None when it is expired already, or was never there.

        A build of it that is under way commits nothing any more, and neither does a landing that has judged rows for it.

        Raises:
            RefusedError: a legal hold keeps it.
        """
        return self._database.timed(lambda c, now: expire(c, dataset_id, partition, reason=reason, actor=actor, now=now))

    def reopen(self, dataset_id: int, partition: Partition, *, actor: str) -> bool:
        """Let rows land in an expired partition again; whether it was one. What it held does not come back by that."""

        def work(connection: Connection, now: int) -> bool:
            dataset, p = datasets.lock(connection, dataset_id), partitions_table.c
            here = partitions_table.update().where(p.dataset_id == dataset.id, p.start == to_micros(partition.start))
            reopened = connection.execute(here.where(p.state == partitions.EXPIRED).values(state=partitions.OPEN)).rowcount > 0
            if reopened:
                details = {"partition": partition.key}
                audit.record(connection, dataset.id, actor=actor, action="partition_reopened", details=details, now=now)
            return reopened

        return self._database.timed(work)

    def landed_into(self, dataset_id: int, keys: Sequence[str]) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Addresses of files, and windows of topics (`Backfill.ranges`), that rows of these partitions came from."""

        def read(connection: Connection) -> tuple[list[str], list[Mapping[str, Any]]]:
            found = landed_into(connection, dataset_id, keys)
            return list(found.files), list(found.windows(connection))

        return self._database.read(read)

    def expired(self, dataset_id: int) -> frozenset[datetime]:
        """Starts of the partitions that have expired: nothing lands there."""
        p = partitions_table.c
        wanted = select(p.start).where(p.dataset_id == dataset_id, p.state == partitions.EXPIRED)
        return self._database.read(lambda c: frozenset(from_micros(start) for start in c.execute(wanted).scalars()))

    def legal_holds(self, dataset_id: int) -> Mapping[str, int]:
        """Versions that must not be lost, by the name of their tag."""
        return self._database.read(lambda c: legal_holds(c, dataset_id))

    def held(self, dataset_id: int) -> Mapping[datetime, tuple[str, ...]]:
        """Partitions that legal holds keep, by their start, with the names of these."""

        def read(connection: Connection) -> dict[datetime, tuple[str, ...]]:
            by_start: dict[datetime, tuple[str, ...]] = {}
            for name, version in legal_holds(connection, dataset_id).items():
                c = segments.c
                starts = select(c.partition_start).where(c.dataset_id == dataset_id, manifest.live(version)).distinct()
                for start in connection.execute(starts).scalars():
                    by_start[from_micros(start)] = (*by_start.get(from_micros(start), ()), name)
            return by_start

        return self._database.read(read)


def expire(
    connection: Connection, dataset_id: int, partition: Partition, *, reason: str, actor: str, now: int
) -> ExpiredPartition | None:
    """See `Expiry.expire`."""
    dataset = datasets.lock(connection, dataset_id)
    start = to_micros(partition.start)
    before = partitions.find(connection, dataset.id, start)
    if before is None or before.state == partitions.EXPIRED:
        return None
    _require_free(connection, dataset.id, dataset.name, partition, start)
    version: int = dataset.manifest_version + 1
    c = segments.c
    gone = segments.update().where(c.dataset_id == dataset.id, c.partition_start == start, c.removed_version.is_(None))
    # those that wait for the last batch of a replacing file go with the others
    taken = connection.execute(
        gone.values(removed_version=version, removed_at=now).returning(c.rows, c.bytes, c.added_version)
    ).all()
    live = [row for row in taken if row.added_version is not None]
    manifest.set_version(connection, dataset.id, version, now=now)
    partitions.built(
        connection,
        dataset.id,
        start,
        state=partitions.EXPIRED,
        superseded_rows=0,
        retracted=False,
        content_hash=None,
        version=version,
    )
    partitions.fulfil_request(connection, dataset.id, start)
    expired = ExpiredPartition(
        partition=partition.key,
        reason=reason,
        rows=sum(row.rows for row in live),
        bytes=sum(row.bytes for row in live),
        segments=len(live),
        manifest_version=version,
    )
    details = asdict(expired)
    unseen = sum(row.rows for row in taken) - expired.rows
    details |= {"rows_never_shown": unseen} if unseen else {}
    tell(connection, dataset.id, "partition_expired", details, event=details, actor=actor, now=now, manifest_version=version)
    return expired


def legal_holds(connection: Connection, dataset_id: int) -> dict[str, int]:
    """See `Expiry.legal_holds`."""
    t = tags.c
    found = connection.execute(select(t.name, t.version).where(t.dataset_id == dataset_id, t.is_legal_hold).order_by(t.name))
    return {row.name: row.version for row in found}


def _require_free(connection: Connection, dataset_id: int, name: str, partition: Partition, start: int) -> None:
    c = segments.c
    for hold, version in legal_holds(connection, dataset_id).items():
        held = exists().where(c.dataset_id == dataset_id, c.partition_start == start, manifest.live(version))
        if connection.execute(select(held)).scalar():
            raise RefusedError(
                f"partition {partition.key} of dataset {name!r} is kept by the legal hold {hold!r}; lift that first"
            )
