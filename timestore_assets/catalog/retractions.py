"""Rows that people take out, and take back: each is one transaction, told in the audit and to Dagster.

A retraction hides rows from a manifest version on; the next build of each partition drops them. Until then it can be undone. It
is known by the id of its first row; the audit, which keeps it for ever, has what was asked for and how many rows that were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import datasets, file_chunks, manifest, older_processes, partitions, sources
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import FileState
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.tables import audit as audit_table
from timestore_assets.catalog.tables import files, retractions, segments, source_partitions
from timestore_assets.catalog.tables import partitions as partitions_table
from timestore_assets.model.errors import ConflictError, InputError, RefusedError
from timestore_assets.model.retraction import Retracted, sources_of, wholly_retracted
from timestore_assets.model.window import Partition, Window

RetractionState = Literal["hidden", "dropped", "undone"]
"""hidden: readers leave its rows out, and it can be undone · dropped: builds have dropped all of its rows · undone."""
RETRACTED, UNDONE, ROLLED_BACK = "retracted", "retraction_undone", "rolled_back"
_WITH_ROWS: tuple[FileState, ...] = ("landed", "landing", "quarantined")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRetraction:
    """What is to be retracted."""

    selector: Mapping[str, Any]
    """As it was asked for, plain JSON values."""
    ranges: Retracted
    """Those that are whole source partitions are closed: nothing lands there any more."""
    rows: Mapping[Partition, int]
    """Rows that it hides now, by partition."""
    files: tuple[int, ...] = ()
    """Files all of whose rows these are: they may land again."""
    read_version: int | None = None
    """The manifest version in which the rows were counted; None when it doesn't matter what was retracted since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetractionRecord:
    """A retraction that somebody made."""

    id: int
    state: RetractionState
    selector: Mapping[str, Any]
    rows: int
    """That it hid when it was made."""
    partitions: Mapping[str, int]
    """The same by partition key."""
    manifest_version: int
    """The first without them."""
    actor: str
    at: datetime


class Retractions:
    """Each method is one short transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def add(self, dataset_id: int, wanted: NewRetraction, *, actor: str) -> RetractionRecord:
        """Hide rows from the next manifest version on, and mark the partitions that hold them, so that builds drop them.

        Raises:
            ConflictError: what was to be retracted has changed since it was looked up. DroppedError: the dataset was dropped.
            RefusedError: it is not whole source partitions, and processes that know nothing else are at work.
        """
        version = self._write(dataset_id, lambda c, token, now: add(c, dataset_id, wanted, actor=actor, token=token, now=now))
        return next(one for one in self.of(dataset_id) if one.manifest_version == version)

    def undo(self, dataset_id: int, retraction_id: int, *, proof: Collection[int], actor: str) -> RetractionRecord:
        """Show the rows of a retraction again.

        Args:
            proof: segments that hold all of its rows.

        Raises:
            InputError: there is no such retraction. RefusedError: it can't be undone any more, or is.
            ConflictError: one of the segments was replaced meanwhile.
        """
        self._write(
            dataset_id, lambda c, token, now: undo(c, dataset_id, retraction_id, proof=proof, actor=actor, token=token, now=now)
        )
        return self.find(dataset_id, retraction_id)

    def of(self, dataset_id: int) -> list[RetractionRecord]:
        """All that were ever made, the newest first."""
        return self._database.read(lambda c: listed(c, dataset_id))

    def find(self, dataset_id: int, retraction_id: int) -> RetractionRecord:
        """The retraction of that id; InputError when there is none."""
        return self._database.read(lambda c: find(c, dataset_id, retraction_id))

    def ranges(self, dataset_id: int, retraction_id: int) -> Retracted:
        """What a retraction hides at the version it made."""
        version = self.find(dataset_id, retraction_id).manifest_version
        return self._database.read(lambda c: _ranges(c, dataset_id, version))

    def _write(self, dataset_id: int, work: Callable[[Connection, str, int], int]) -> int:
        seen = self._progress.seen
        version = write_once(self._database, work)
        self._progress.note(dataset_id, version, seen)
        return version


def add(connection: Connection, dataset_id: int, wanted: NewRetraction, *, actor: str, token: str, now: int) -> int:
    """See `Retractions.add`; returns the manifest version that it makes."""
    dataset = datasets.lock(connection, dataset_id)
    version: int = dataset.manifest_version + 1
    whole = wholly_retracted(wanted.ranges)
    if whole != sources_of(wanted.ranges):
        older_processes.require_none(connection, f"rows of dataset {dataset.name!r} are not retracted", now=now)
    if wanted.read_version is not None:
        changed = manifest.changed_sources(connection, dataset_id, since=wanted.read_version)
        if changed & sources_of(wanted.ranges):
            raise ConflictError("some of these rows have been retracted or read again meanwhile; look again")
    if set(sources.retract(connection, whole, version=version)) != whole:
        raise ConflictError("some of these rows have been retracted or replaced meanwhile; look again")
    before = _leave_files(connection, wanted.files, actor=actor, now=now)
    ids = manifest.retract(connection, dataset_id, _in_order(wanted.ranges), version=version)
    manifest.abandon_waiting(connection, whole, version=version, now=now)
    there = manifest.holding(connection, dataset_id, sources_of(wanted.ranges))
    counted = {to_micros(partition.start) for partition, rows in wanted.rows.items() if rows}
    lost = {start for start, held in there.items() if start in counted or not whole.isdisjoint(held)}
    partitions.lost_rows(connection, dataset_id, lost, version=version)
    manifest.set_version(connection, dataset_id, version, now=now)
    told = {
        "id": ids[0],
        "selector": dict(wanted.selector),
        "rows": sum(wanted.rows.values()),
        "partitions": {partition.key: rows for partition, rows in sorted(wanted.rows.items(), key=_start) if rows},
    }
    _tell(connection, dataset_id, RETRACTED, told, told | {"files": before}, actor=actor, token=token, version=version, now=now)
    return version


def undo(
    connection: Connection, dataset_id: int, retraction_id: int, *, proof: Collection[int], actor: str, token: str, now: int
) -> int:
    """See `Retractions.undo`; returns the manifest version that it makes."""
    dataset = datasets.lock(connection, dataset_id)
    found = find(connection, dataset_id, retraction_id)
    if found.state != "hidden":
        raise RefusedError(not_undoable(found))
    added = found.manifest_version
    version: int = dataset.manifest_version + 1
    _require_live(connection, proof)
    _bring_files_back(connection, dataset_id, added, now=now)
    ranges = _ranges(connection, dataset_id, added)
    sources.reopen(connection, wholly_retracted(ranges), version=added)
    r = retractions.c
    own = retractions.update().where(r.dataset_id == dataset_id, r.added_version == added, r.removed_version.is_(None))
    connection.execute(own.values(removed_version=version))
    window = Window(dataset.window)
    _show_again(connection, dataset_id, [to_micros(window.parse_key(key).start) for key in found.partitions], version=version)
    manifest.set_version(connection, dataset_id, version, now=now)
    told = {"id": found.id, "selector": found.selector, "rows": found.rows, "partitions": dict(found.partitions)}
    _tell(connection, dataset_id, UNDONE, told, told, actor=actor, token=token, version=version, now=now)
    return version


def made_by_landing(connection: Connection, dataset_id: int) -> Callable[[int], bool]:
    """Whether the retraction that a version made belongs to the landing of that version, and not to people or a rollback."""
    a = audit_table.c
    others = select(a.manifest_version).where(a.dataset_id == dataset_id, a.action.in_((RETRACTED, ROLLED_BACK)))
    made = frozenset(connection.execute(others).scalars())
    return lambda version: version not in made


def reopenable_since(connection: Connection, dataset_id: int, version: int) -> frozenset[int]:
    """Source partitions that `reopen_since` would open again."""
    f = files.c
    found: set[int] = set()
    for file_id, _, _ in _retracted_files(connection, dataset_id, version):
        mine = select(f.source_partition_id).where(f.id == file_id, f.state == "retracted", f.newest)
        sources = connection.execute(mine).scalars()
        found |= file_chunks.with_parts(connection, [one for one in sources if one is not None])
    return frozenset(found)


def reopen_since(connection: Connection, dataset_id: int, version: int, *, now: int) -> frozenset[int]:
    """Let files that people retracted after that version be as they were, unless they have landed again.

    For whoever goes back to it: the retractions themselves are theirs to end. Returns the source partitions that are open again.
    """
    f, p = files.c, source_partitions.c
    reopened: set[int] = set()
    for file_id, state, reason in _retracted_files(connection, dataset_id, version):
        own = files.update().where(f.id == file_id, f.state == "retracted", f.newest)
        source = connection.execute(own.values(state=state, reason=reason, updated_at=now).returning(f.source_partition_id))
        reopened |= file_chunks.with_parts(connection, [one for one in source.scalars() if one is not None])
    for ids in chunked(sorted(reopened)):
        closed = source_partitions.update().where(p.id.in_(ids), p.retracted_version > version)
        connection.execute(closed.values(retracted_version=None))
    return frozenset(reopened)


def _retracted_files(connection: Connection, dataset_id: int, version: int) -> list[tuple[int, str, str]]:
    """Id, state and reason, as they were before, of files that people retracted after a version."""
    a = audit_table.c
    told = select(a.details).where(a.dataset_id == dataset_id, a.action == RETRACTED, a.manifest_version > version)
    return [tuple(file) for text in connection.execute(told).scalars() for file in json.loads(text)["files"]]


def not_undoable(found: RetractionRecord, dropped: int | None = None) -> str:
    """Why a retraction can't be undone. `dropped`: so many of its rows are gone, all when None."""
    if found.state == "undone":
        return f"retraction {found.id} has been undone already"
    rows = found.rows if dropped is None else dropped
    return (
        f"retraction {found.id} can't be undone: builds have dropped {rows:,} of its {found.rows:,} rows; "
        f"roll back to version {found.manifest_version - 1} instead, or land them again"
    )


def listed(connection: Connection, dataset_id: int) -> list[RetractionRecord]:
    """See `Retractions.of`."""
    a, r = audit_table.c, retractions.c
    window = datasets.row(connection, dataset_id).window
    hidden = select(r.added_version).where(r.dataset_id == dataset_id, r.removed_version.is_(None)).distinct()
    at_work = set(connection.execute(hidden).scalars())
    rows = connection.execute(
        select(audit_table)
        .where(a.dataset_id == dataset_id, a.action.in_((RETRACTED, UNDONE, ROLLED_BACK)))
        .order_by(a.id.desc())
    ).all()
    told = [(row, json.loads(row.details)) for row in rows]
    undone = {details["id"] for row, details in told if row.action == UNDONE}
    # whoever rolled back to a version before it has undone it as well
    back = [(details["to"], details["from"]) for row, details in told if row.action == ROLLED_BACK]
    undone |= {
        details["id"]
        for row, details in told
        if row.action == RETRACTED and any(to < row.manifest_version <= since for to, since in back)
    }
    return [_record(row, at_work, undone, Window(window)) for row in rows if row.action == RETRACTED]


def find(connection: Connection, dataset_id: int, retraction_id: int) -> RetractionRecord:
    """See `Retractions.find`."""
    for one in listed(connection, dataset_id):
        if one.id == retraction_id:
            return one
    raise InputError(f"there is no retraction {retraction_id}; `timestore retract DATASET --list` shows those that there are")


def _record(row: Row[Any], at_work: set[int], undone: set[int], window: Window) -> RetractionRecord:
    details = json.loads(row.details)
    state: RetractionState = "dropped"
    if details["id"] in undone:
        state = "undone"
    elif row.manifest_version in at_work:
        state = "hidden"
    keys = sorted(details["partitions"], key=lambda key: window.parse_key(key).start)
    return RetractionRecord(
        id=details["id"],
        state=state,
        selector=details["selector"],
        rows=details["rows"],
        partitions={key: details["partitions"][key] for key in keys},
        manifest_version=row.manifest_version,
        actor=row.actor,
        at=from_micros(row.at),
    )


def _ranges(connection: Connection, dataset_id: int, version: int) -> Retracted:
    return manifest.retracted(connection, dataset_id, version=version) - manifest.retracted(
        connection, dataset_id, version=version - 1
    )


def _leave_files(connection: Connection, file_ids: Sequence[int], *, actor: str, now: int) -> list[list[Any]]:
    """Let files count as retracted; returns id, state and reason of each as they were."""
    f = files.c
    reason = f"its rows were retracted by {actor}; landed once more by name it counts as new"
    before: list[list[Any]] = []
    for ids in chunked(sorted(file_ids)):
        there = select(f.id, f.state, f.reason).where(f.id.in_(ids), f.state.in_(_WITH_ROWS)).with_for_update()
        before += [[row.id, row.state, row.reason] for row in connection.execute(there)]
        connection.execute(files.update().where(f.id.in_(ids)).values(state="retracted", reason=reason, updated_at=now))
    if len(before) < len(file_ids):
        raise ConflictError("the file was replaced meanwhile; look again")
    return before


def _bring_files_back(connection: Connection, dataset_id: int, added: int, *, now: int) -> None:
    a, f = audit_table.c, files.c
    told = select(a.details).where(a.dataset_id == dataset_id, a.action == RETRACTED, a.manifest_version == added)
    for file_id, state, reason in json.loads(connection.execute(told).scalar_one())["files"]:
        own = files.update().where(f.id == file_id, f.state == "retracted", f.newest)
        if connection.execute(own.values(state=state, reason=reason, updated_at=now)).rowcount == 0:
            address = connection.execute(select(f.address).where(f.id == file_id)).scalar()
            raise RefusedError(f"{address} was landed again since: retract that first, or leave it as it is")


def _require_live(connection: Connection, segment_ids: Collection[int]) -> None:
    s = segments.c
    for ids in chunked(sorted(segment_ids)):
        live = select(s.id).where(s.id.in_(ids), manifest.live(None))
        if len(connection.execute(live).all()) < len(ids):
            raise ConflictError("a build has replaced some of these segments meanwhile; look again")


def _show_again(connection: Connection, dataset_id: int, starts: Sequence[int], *, version: int) -> None:
    """Partitions that were sealed are built again, which seals them; an open one is marked no longer, unless it must be."""
    partitions.changed(connection, dataset_id, starts, version=version)
    p = partitions_table.c
    for start in starts:
        here = p.dataset_id == dataset_id, p.start == start
        if connection.execute(select(p.state).where(*here)).scalar_one() != partitions.STALE:
            left = manifest.left_behind(connection, dataset_id, start)
            connection.execute(partitions_table.update().where(*here).values(retracted=left))


def _tell(
    connection: Connection,
    dataset_id: int,
    action: str,
    event: Mapping[str, Any],
    details: Mapping[str, Any],
    *,
    actor: str,
    token: str,
    version: int,
    now: int,
) -> None:
    shown = {"rows": event["rows"], "partitions": list(event["partitions"]), "actor": actor, "reason": describe(event, action)}
    shown |= {"manifest_version": version}
    tell(connection, dataset_id, action, details, event=shown, actor=actor, now=now, token=token, manifest_version=version)


def describe(event: Mapping[str, Any], action: str) -> str:
    """What happened, as a sentence."""
    said = ", ".join(f"{name} {value}" for name, value in event["selector"].items() if value is not None)
    verb = "retracted" if action == RETRACTED else "shown again"
    return f"{event['rows']:,} rows {verb} ({said})"


def _in_order(ranges: Retracted) -> list[Any]:
    return sorted(ranges, key=lambda one: (one.source, -1 if one.first is None else one.first))


def _start(item: tuple[Partition, int]) -> datetime:
    return item[0].start
