"""What an erasure does to a dataset's history: versions that may show erased rows can't be read any more.

It writes down which columns decided and how many rows went, and no value of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, func, select

from timestore_assets.catalog import audit, datasets, schema_events
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.expiry import legal_holds
from timestore_assets.catalog.stored_objects import note_collected
from timestore_assets.catalog.stored_segments import KnownSegments
from timestore_assets.catalog.tables import archives, dead_letter_files, leases, segments, tags
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.segment import ObjectName, Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class RaisedFloor:
    """`tags`: names of those below the floor, which are gone."""

    floor_version: int
    tags: tuple[str, ...]


class Erasures:
    """Each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_floor(self, dataset_id: int, version: int, *, actor: str, details: Mapping[str, Any]) -> RaisedFloor:
        """Let no version below this one be read, tagged or rolled back to; tags on them go. Audited with the details.

        What the segments of those versions held may be collected at once, readers that hold one excepted.

        Raises:
            RefusedError: a legal hold keeps an older version.
        """

        def work(connection: Connection, now: int) -> RaisedFloor:
            dataset = datasets.lock(connection, dataset_id)
            require_no_hold(connection, dataset.id, dataset.name)
            floor = max(dataset.floor_version, version)
            d = datasets_table.c
            below = case((d.collected_version < floor, floor), else_=d.collected_version)
            raised = datasets_table.update().where(d.id == dataset.id).values(floor_version=floor, collected_version=below)
            connection.execute(raised)
            t = tags.c
            gone = delete(tags).where(t.dataset_id == dataset.id, t.version < floor).returning(t.name)
            names = sorted(connection.execute(gone).scalars())
            resources = [f"tag:{dataset.id}:{name}" for name in names]
            connection.execute(delete(leases).where(leases.c.resource.in_(resources)))
            schema_events.forget_samples(connection, dataset.id)
            told = {**details, "floor_version": floor, "tags": names}
            audit.record(
                connection,
                dataset.id,
                actor=actor,
                action="rows_erased",
                details=told,
                now=now,
                manifest_version=dataset.manifest_version,
            )
            return RaisedFloor(floor_version=floor, tags=tuple(names))

        return self._database.timed(work)

    def superseded(self, dataset_id: int) -> list[Segment]:
        """Segments that only older versions show, or that a version that is yet to come would: their rows are still there."""
        c = segments.c
        wanted = select(c.id, c.removed_version, c.partition_start)
        wanted = wanted.where(c.dataset_id == dataset_id, c.removed_version.is_not(None))

        def read(connection: Connection) -> list[Segment]:
            rows = [tuple(row) for row in connection.execute(wanted.order_by(c.id))]
            return KnownSegments().get(connection, dataset_id, rows, with_stats=False)

        return self._database.read(read)

    def waiting(self, dataset_id: int) -> int:
        """Segments that are to be shown with the last batch of a file that replaces others: no version has them yet."""
        c = segments.c
        wanted = select(func.count()).where(
            c.dataset_id == dataset_id, c.added_version.is_(None), c.removed_version.is_(None), c.waiting_for.is_not(None)
        )
        return self._database.read(lambda connection: int(connection.execute(wanted).scalar_one()))

    def tags_below(self, dataset_id: int, version: int) -> list[str]:
        """Names of tags on older versions, without legal holds."""
        t = tags.c
        wanted = select(t.name).where(t.dataset_id == dataset_id, t.version < version, ~t.is_legal_hold).order_by(t.name)
        return self._database.read(lambda connection: list(connection.execute(wanted).scalars()))

    def forget_dead_letters(self, dataset_id: int, *, actor: str) -> Sequence[ObjectName]:
        """Forget every record of a dataset that did not land, replayed ones included; their files may then go.

        The counters stay: what was refused was refused.
        """

        def work(connection: Connection, now: int) -> list[ObjectName]:
            datasets.lock(connection, dataset_id)
            f = dead_letter_files.c
            gone = delete(dead_letter_files).where(f.dataset_id == dataset_id).returning(f.storage, f.name, f.rows)
            found = connection.execute(gone).all()
            names = sorted(ObjectName(row.storage, row.name) for row in found)
            note_collected(connection, names)
            details = {"files": len(found), "rows": sum(row.rows for row in found)}
            audit.record(connection, dataset_id, actor=actor, action="dead_letters_erased", details=details, now=now)
            return names

        return self._database.timed(work, repeatable=False)

    def forget_archives(self, dataset_id: int, targets: Sequence[str], *, actor: str) -> Sequence[ObjectName]:
        """Forget the archives of dropped columns that lie in these storage targets; their files may then go."""

        def work(connection: Connection, now: int) -> list[ObjectName]:
            datasets.lock(connection, dataset_id)
            a = archives.c
            mine = delete(archives).where(a.dataset_id == dataset_id, a.storage.in_(targets))
            names = sorted(ObjectName(*row) for row in connection.execute(mine.returning(a.storage, a.name)))
            note_collected(connection, names)
            details = {"files": len(names)}
            audit.record(connection, dataset_id, actor=actor, action="archives_erased", details=details, now=now)
            return names

        return self._database.timed(work, repeatable=False)


def require_no_hold(connection: Connection, dataset_id: int, name: str) -> None:
    """Raise RefusedError when a legal hold keeps a version of the dataset."""
    holds = legal_holds(connection, dataset_id)
    if holds:
        raise RefusedError(held_sentence(name, list(holds)))


def held_sentence(dataset: str, holds: Sequence[str]) -> str:
    """Why nothing of a dataset may be erased."""
    kept = f"the legal hold {holds[0]!r}" if len(holds) == 1 else f"legal holds ({', '.join(holds)})"
    return f"dataset {dataset!r} is kept by {kept}, so nothing of it is erased; lift that first"
