"""Rolling a dataset's rows back to an earlier version, as a new version: one transaction, by which all of it happens or nothing.

What is live and was not then goes, what was live then begins another life under its name, and no file is written. So rolling
back is as cheap as a build of nothing, and going forward again is rolling back to the version before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import datasets, manifest, outbox, partitions, rolled_back_landings, schema_versions
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import PartitionState
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.retractions import reopen_since, reopenable_since
from timestore_assets.catalog.rollback_plan import RollbackPlan, place_of, plan_rollback, require_target, schema_back, stats_of
from timestore_assets.catalog.rolled_back_landings import Returned, returnable
from timestore_assets.catalog.schema_migrations import Redeclare
from timestore_assets.catalog.schema_restoring import restorable, restored
from timestore_assets.catalog.stored_segments import parse_ids
from timestore_assets.catalog.tables import partitions as partitions_table
from timestore_assets.catalog.tables import retractions, segment_stats, segments
from timestore_assets.model.hash_sums import EMPTY, combined, have_one_scheme
from timestore_assets.model.window import Window

_LISTED = 1000
"""Partitions that an event names; the audit counts the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledPartition:
    """What changes in a partition."""

    partition: str
    state: PartitionState
    """After it."""
    segments_out: int
    segments_in: int
    rows_out: int
    """Of the segments that go."""
    rows_in: int
    landings: int
    """Segments that landed since, and stay or come again as they landed."""
    landed_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """What was done, or would be."""

    dataset: str
    start_version: int
    """Of before it; rolling back to that is going forward again."""
    to_version: int
    version: int
    """Of after it; that of before when all is as it was."""
    partitions: tuple[RolledPartition, ...] = ()
    retractions_back: int = 0
    """Retractions that count again."""
    retractions_off: int = 0
    """Retractions made since that don't count any more."""
    files: tuple[str, ...] = ()
    """Addresses of files that land again."""
    topics: tuple[str, ...] = ()
    """Addresses of topic sources whose checkpoints are set back."""
    lost_requests: int = 0
    """Rows of requests over HTTP that go and don't come again by themselves."""
    expired: tuple[str, ...] = ()
    """Partitions that held rows then, and stay away because they have expired since."""
    schema_version: int | None = None
    """The schema version whose columns are in force again, since migrations since are taken back with it; else None."""


class Rollbacks:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def plan(self, dataset_id: int, to: int, *, with_landings: bool = False, may_null: bool = False) -> Rollback:
        """What `roll_back` would do now. Errors as that, but that rows of requests may be lost."""

        def work(connection: Connection) -> Rollback:
            now = self._database.now(connection)
            dataset = datasets.row(connection, dataset_id)
            plan, returned = _planned(connection, dataset, to, with_landings=with_landings, may_lose=True, now=now)
            back = schema_back(connection, dataset, to)
            if back is not None:
                current, wanted = (schema_versions.schema(connection, dataset_id, one) for one in (dataset.schema_version, back))
                restorable(connection, dataset, current, wanted, _written(connection, dataset_id, plan), may_null=may_null)
            return _report(dataset, plan, returned, back)

        return self._database.read(work)

    def roll_back(
        self,
        dataset_id: int,
        to: int,
        *,
        with_landings: bool = False,
        may_lose: bool = False,
        may_null: bool = False,
        redeclare: Redeclare | None = None,
        actor: str,
    ) -> Rollback:
        """Let a new version show the rows of version `to`, and what landed since; audited, with events for Dagster.

        Where migrations lie between, they are taken back in the same version.

        Whoever reads goes on reading the version that it reads. A build under way in a partition that changes is done again.

        Args:
            with_landings: what landed since goes too; files and topics land again, with their checkpoints set back.
            may_lose: rows that came over HTTP may go, which don't come again by themselves.
            may_null, redeclare: see `schema_restoring.restored`.

        Raises:
            RefusedError: the version was collected or erased, or never was; rows would be lost that landed since; or they have no
                value for a column of then.
        """
        done: list[Rollback] = []

        def work(connection: Connection, token: str, now: int) -> int:
            dataset = datasets.lock(connection, dataset_id)
            plan, returned = _planned(connection, dataset, to, with_landings=with_landings, may_lose=may_lose, now=now)
            back = schema_back(connection, dataset, to)
            report = _report(dataset, plan, returned, back)
            done.append(report)
            if report.version != dataset.manifest_version:
                _carry_out(connection, dataset, plan, returned, report, now=now)
                if back is not None:
                    options: dict[str, Any] = {"may_null": may_null, "redeclare": redeclare, "version": report.version}
                    restored(connection, dataset, back, **options, actor=actor, now=now)
                _tell(connection, dataset, report, token=token, actor=actor, now=now)
            return report.version

        seen = self._progress.seen
        version = write_once(self._database, work)
        self._progress.note(dataset_id, version, seen)
        return done[-1]


def _planned(
    connection: Connection, dataset: Row[Any], to: int, *, with_landings: bool, may_lose: bool, now: int
) -> tuple[RollbackPlan, Returned]:
    require_target(connection, dataset, to, now=now)
    returned = returnable(connection, dataset, to, may_lose=may_lose, now=now) if with_landings else Returned()
    reopened = {*returned.reopened, *reopenable_since(connection, dataset.id, to)}
    plan = plan_rollback(connection, dataset, to, with_landings=with_landings, reopened=reopened, now=now)
    return plan, returned


def _carry_out(
    connection: Connection,
    dataset: Row[Any],
    plan: RollbackPlan,
    returned: Returned,
    report: Rollback,
    *,
    now: int,
) -> None:
    version = report.version
    _take_out(connection, (*plan.goes, *plan.renewed), version=version, now=now)
    _bring_in(connection, (*plan.comes, *plan.renewed), version=version, now=now)
    _move_retractions(connection, dataset.id, plan, version=version)
    reopen_since(connection, dataset.id, plan.to_version, now=now)
    rolled_back_landings.give_back(connection, dataset.id, returned, to=plan.to_version, version=version, now=now)
    manifest.set_version(connection, dataset.id, version, now=now)
    for start, rows in plan.after.items():
        _move_partition(connection, dataset.id, start, rows, plan, version=version)


def _written(connection: Connection, dataset_id: int, plan: RollbackPlan) -> set[int]:
    """Schema versions of the segments that would be live."""
    c = segments.c
    elsewhere = select(c.partition_start, c.schema_version).distinct().where(c.dataset_id == dataset_id, manifest.live(None))
    kept = {row.schema_version for row in connection.execute(elsewhere) if row.partition_start not in plan.after}
    return kept | {row.schema_version for rows in plan.after.values() for row in rows}


def _take_out(connection: Connection, rows: Iterable[Row[Any]], *, version: int, now: int) -> None:
    for ids in chunked(row.id for row in rows):
        gone = segments.update().where(segments.c.id.in_(ids)).values(removed_version=version, removed_at=now)
        connection.execute(gone)


def _bring_in(connection: Connection, rows: Sequence[Row[Any]], *, version: int, now: int) -> None:
    """Begin another life of each segment, with its statistics."""
    for some in chunked(rows):
        values = [
            {name: value for name, value in row._mapping.items() if name != "id"}
            | {
                "added_version": version,
                "added_at": now,
                "removed_version": None,
                "removed_at": None,
                "first_version": row.first_version or row.added_version,
            }
            for row in some
        ]
        inserted = segments.insert().returning(segments.c.id, sort_by_parameter_order=True)
        ids = connection.execute(inserted, values).scalars().all()
        texts = stats_of(connection, [row.id for row in some])
        stats = [{"segment_id": new, "stats": texts[row.id]} for new, row in zip(ids, some, strict=True) if row.id in texts]
        if stats:
            connection.execute(segment_stats.insert(), stats)


def _move_retractions(connection: Connection, dataset_id: int, plan: RollbackPlan, *, version: int) -> None:
    for ids in chunked(plan.shows):
        connection.execute(retractions.update().where(retractions.c.id.in_(ids)).values(removed_version=version))
    names = ("source_partition_id", "first_position", "end_position", "last_session")
    rows = [
        {"dataset_id": dataset_id, "added_version": version, **dict(zip(names, bounds, strict=True))} for bounds in plan.hides
    ]
    if rows:
        connection.execute(retractions.insert(), rows)


def _move_partition(
    connection: Connection, dataset_id: int, start: int, rows: Sequence[Row[Any]], plan: RollbackPlan, *, version: int
) -> None:
    p = partitions_table.c
    before = partitions.find(connection, dataset_id, start)
    state, content_hash = standing(rows, plan.hidden, sealed_empty=start in plan.sealed_empty)
    # builds fall away, and with them what they left out as superseded
    back = sum(row.rows for row in rows) - sum(row.rows for row in plan.before[start])
    values = {
        "state": state,
        "retracted": _holds(rows, plan.hidden),
        "content_hash": content_hash,
        "manifest_version": version,
        "superseded_rows": max(0, (before.superseded_rows if before else 0) - back),
    }
    connection.execute(partitions_table.update().where(p.dataset_id == dataset_id, p.start == start).values(values))


def standing(
    rows: Sequence[Row[Any]], hidden: frozenset[int], *, sealed_empty: bool = False
) -> tuple[PartitionState, str | None]:
    """State and content hash of a partition with these live segments.

    Sealed only if all of it is as a build sealed it. One whose sealed rows other rows have joined, or some of whose rows are
    hidden, lacks a build; and so does one that was sealed before segments had hashes of their own, or in part by another DuckDB.
    `sealed_empty`: it has no rows, and was sealed like that.
    """
    if sealed_empty:
        return partitions.SEALED, EMPTY
    hashes = [row.content_hash for row in rows if row.kind == "sealed"]
    if not hashes:
        return partitions.OPEN, None
    if len(hashes) < len(rows) or None in hashes or not have_one_scheme(hashes) or _holds(rows, hidden):
        return partitions.STALE, None
    return partitions.SEALED, combined(hashes)


def _holds(rows: Sequence[Row[Any]], hidden: frozenset[int]) -> bool:
    return any(hidden.intersection(parse_ids(row.source_ids)) for row in rows)


def _report(dataset: Row[Any], plan: RollbackPlan, returned: Returned, back: int | None) -> Rollback:
    window = Window(dataset.window)
    landings = {place_of(row) for row in plan.landings}
    goes, comes = ({place_of(row) for row in rows} for rows in (plan.goes, plan.comes))
    changes = []
    for start, rows in plan.after.items():
        out = [row for row in plan.before[start] if place_of(row) in goes]
        into = [row for row in rows if place_of(row) in comes]
        landed = [row for row in rows if place_of(row) in landings]
        changes.append(
            RolledPartition(
                partition=window.key_of(from_micros(start)),
                state=standing(rows, plan.hidden, sealed_empty=start in plan.sealed_empty)[0],
                segments_out=len(out),
                segments_in=len(into),
                rows_out=sum(row.rows for row in out),
                rows_in=sum(row.rows for row in into),
                landings=len(landed),
                landed_rows=sum(row.rows for row in landed),
            )
        )
    changed = not (plan.nothing and returned.nothing) or back is not None
    return Rollback(
        dataset=dataset.name,
        start_version=plan.start_version,
        to_version=plan.to_version,
        version=plan.start_version + changed,
        partitions=tuple(changes),
        retractions_back=len(plan.hides),
        retractions_off=len(plan.shows),
        files=returned.addresses,
        topics=returned.topics,
        lost_requests=returned.lost_requests,
        expired=tuple(window.key_of(from_micros(start)) for start in plan.expired),
        schema_version=back,
    )


def _tell(connection: Connection, dataset: Row[Any], done: Rollback, *, token: str, actor: str, now: int) -> None:
    keys = [one.partition for one in done.partitions]
    details: Mapping[str, Any] = {
        "from": done.start_version,
        "to": done.to_version,
        "partitions": keys[:_LISTED],
        "partition_count": len(keys),
        "segments_out": sum(one.segments_out for one in done.partitions),
        "segments_in": sum(one.segments_in for one in done.partitions),
        "rows_out": sum(one.rows_out for one in done.partitions),
        "rows_in": sum(one.rows_in for one in done.partitions),
        "retractions_back": done.retractions_back,
        "retractions_off": done.retractions_off,
        "files": list(done.files[:_LISTED]),
        "topics": list(done.topics),
        "lost_requests": done.lost_requests,
        "expired": list(done.expired[:_LISTED]),
        "expired_count": len(done.expired),
        "schema_version": done.schema_version,
    }
    reason = f"rolled back to version {done.to_version}"
    event = {**details, "reason": reason, "actor": actor, "manifest_version": done.version}
    at = done.version
    tell(connection, dataset.id, "rolled_back", details, event=event, actor=actor, now=now, token=token, manifest_version=at)
    for one in done.partitions:
        payload = {"partition": one.partition, "state": one.state, "reason": reason, "manifest_version": done.version}
        outbox.queue(connection, dataset.id, "partition_built", payload, now=now)
