"""What a verification compares with files beside segments, and what it may put right in the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from timestore_assets.catalog import audit, datasets, leases, outbox
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.portable import upsert
from timestore_assets.catalog.stored_objects import count_move
from timestore_assets.catalog.stored_segments import stats_text
from timestore_assets.catalog.tables import archives, segment_stats, segments, tags
from timestore_assets.model.segment import ColumnStats


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveFile:
    """What a dropped column held of a partition. `storage`: a target, or an absolute folder outside of all."""

    storage: str
    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedVersion:
    """A version with a name. `is_readable`: whether all of it should still be there."""

    name: str
    version: int
    is_readable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueStatistics:
    """What a segment's file says of itself, its bytes being those that were committed."""

    stats: Mapping[str, ColumnStats]
    min_time: datetime
    max_time: datetime


class Repairs:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def archives(self, dataset_id: int) -> list[ArchiveFile]:
        """Those of a dataset, the oldest first."""
        a = archives.c
        wanted = select(a.storage, a.name, a.rows, a.bytes, a.sha256).where(a.dataset_id == dataset_id).order_by(a.id)
        return self._database.read(lambda c: [ArchiveFile(**row._asdict()) for row in c.execute(wanted)])

    def tags(self, dataset_id: int) -> list[TaggedVersion]:
        """Those of a dataset, by name."""
        t = tags.c

        def read(connection: Connection) -> list[TaggedVersion]:
            now = self._database.now(connection)
            dataset = datasets.row(connection, dataset_id)
            rows = connection.execute(select(t.name, t.version).where(t.dataset_id == dataset_id).order_by(t.name)).all()
            return [
                TaggedVersion(
                    name=row.name,
                    version=row.version,
                    is_readable=row.version >= dataset.floor_version
                    and leases.is_readable(connection, dataset, row.version, now=now),
                )
                for row in rows
            ]

        return self._database.read(read)

    def rewrite_statistics(self, dataset_id: int, found: Mapping[int, TrueStatistics], *, actor: str) -> int:
        """Let segments, by id, have the statistics of their files, which pruning relies on; how many are still there."""

        def work(connection: Connection, now: int) -> int:
            datasets.lock(connection, dataset_id)
            c, names = segments.c, list[str]()
            for segment_id, true in found.items():
                here = segments.update().where(c.id == segment_id, c.dataset_id == dataset_id)
                times = {"min_time": to_micros(true.min_time), "max_time": to_micros(true.max_time)}
                names += connection.execute(here.values(times).returning(c.name)).scalars()
                row = {"segment_id": segment_id, "stats": stats_text(true.stats)}
                upsert(connection, segment_stats, [row], keys=["segment_id"], set_={"stats": lambda _, new: new.stats})
            if names:
                # who remembers segments reads them anew
                count_move(connection, dataset_id, actor=actor, now=now)
                details = {"segments": names}
                audit.record(connection, dataset_id, actor=actor, action="statistics_rewritten", details=details, now=now)
            return len(names)

        return self._database.timed(work)

    def queue_events(self, dataset_id: int, keys: Sequence[str], *, actor: str) -> None:
        """Tell Dagster of these built partitions once more; what it knows already is not reported twice."""

        def work(connection: Connection, now: int) -> None:
            datasets.lock(connection, dataset_id)
            for key in keys:
                outbox.queue(connection, dataset_id, "partition_built", {"partition": key}, now=now)
            details = {"partitions": len(keys)}
            audit.record(connection, dataset_id, actor=actor, action="events_queued_again", details=details, now=now)

        self._database.timed(work)
