"""Building a partition: claim it, merge its segments, publish the result in one transaction, and report what was done.

Nothing here knows Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Literal, Self

import duckdb

from timestore_assets.building.build_plan import BuildPlan, plan_build, plan_erasure
from timestore_assets.building.build_sessions import BuildSessions
from timestore_assets.building.merge import Merged, MergeJob, merge
from timestore_assets.building.needs import is_closed, source_progress
from timestore_assets.building.schema_rewrites import outdated_versions
from timestore_assets.catalog.commit_values import BuildCommit
from timestore_assets.catalog.effective_declaration import effective, renamed
from timestore_assets.catalog.lease_keeper import HeldLease, LeaseKeeper
from timestore_assets.catalog.records import DatasetRecord, PartitionRecord, PartitionState
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError, InputError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.retraction import NOTHING, Retracted
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment, SegmentFormat
from timestore_assets.model.window import Partition
from timestore_assets.ownership.target_claim import claim as claim_target
from timestore_assets.retry import CONFLICT
from timestore_assets.segments.engine import connect
from timestore_assets.segments.publishing import WriteContext, publish, staging_folder

Outcome = Literal["built", "unchanged", "empty"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """One partition after its build."""

    partition: Partition
    outcome: Outcome
    """`built` (segments were replaced, or the partition sealed) · `unchanged` (nothing to do) · `empty` (holds no rows)."""
    state: PartitionState
    """Of the partition now, as what follows."""
    rows: int
    bytes: int
    segments: int
    superseded_rows: int
    """That deduplication removed in this build."""
    erased_rows: int
    """That a person had erased in this build."""
    tickets: tuple[str, ...]
    """Of migrations that this build has rewritten rows for."""
    content_hash: str | None
    min_time: datetime | None
    max_time: datetime | None
    manifest_version: int
    """At which the partition last changed."""
    schema_version: int
    seconds: float
    """Of this build."""


LEASE = timedelta(seconds=30)
"""How long a build that died blocks its partition. A living one keeps it."""

_REPLANNED = replace(CONFLICT, attempts=5)
"""How often a build plans again because a landing or another build changed what it had read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """What the catalog says about a partition now, and what follows from it."""

    dataset: Dataset
    record: DatasetRecord
    partition: Partition
    known: PartitionRecord | None
    segments: tuple[Segment, ...]
    retracted: Retracted
    plan: BuildPlan
    erasing: str | None


class Builder:
    """Builds partitions one after the other, with one DuckDB connection and one session a dataset.

    Close it, or use it as a context manager; but for `interrupt` it belongs to one thread. `lease`: how long what it holds
    outlives it. By the context's clock a dataset's declared end has passed.
    """

    def __init__(self, context: WriteContext, *, lease: timedelta = LEASE) -> None:
        self._context, self._catalog = context, context.catalog
        # two builders of one process are rivals too
        self._holder = f"{context.holder}:{token_hex(4)}"
        self._keeper, self._ttl = LeaseKeeper(context.catalog), lease
        self._sessions = BuildSessions(self._keeper, holder=self._holder, ttl=lease)
        self._con: duckdb.DuckDBPyConnection | None = None
        self._newest: dict[int, datetime] = {}

    def build(self, dataset: Dataset, partition: Partition, *, close: bool, report: bool = True, actor: str) -> BuildReport:
        """Merge a partition's segments and publish the result; returns when it is committed.

        An open partition's deltas are merged and it stays open; a closed one becomes sealed segments. Doing it again changes
        nothing. Rows that land meanwhile stay as deltas beside the result.

        Args:
            close: seal the partition even if more rows are expected. report: queue an event for Dagster (False when Dagster runs
                the build and reports it itself). actor: who asked, for the audit.

        Raises:
            InputError: the catalog knows no dataset of that name. ConflictError: somebody else is building the partition, or
                changed it again and again. OwnershipError: the storage target is not this catalog's. UnavailableError,
                StorageFullError: nothing was published; try again later.
        """
        return self._build(dataset, partition, None, close=close, report=report, actor=actor)

    def erase(self, dataset: Dataset, partition: Partition, condition: str, *, actor: str) -> int:
        """Write a partition anew without the rows for which a condition is true; returns how many those were.

        `condition`: SQL over the stored columns. What is unbuilt stays a delta, what is sealed is sealed anew. Errors as `build`.
        """
        return self._build(dataset, partition, condition, close=False, report=True, actor=actor).erased_rows

    def _build(
        self, dataset: Dataset, partition: Partition, erasing: str | None, *, close: bool, report: bool, actor: str
    ) -> BuildReport:
        started = time.perf_counter()
        state = self._read(dataset, partition, close, erasing)
        claim_target(self._catalog, self._context.storage, state.record.storage)
        if state.plan.nothing:
            return _report(state.record, partition, state.known, None, started)
        merged = self._build_claimed(state, close=close, report=report, actor=actor)
        return _report(state.record, partition, self._catalog.partitions.find(state.record.id, partition), merged, started)

    def interrupt(self) -> None:
        """Break off what DuckDB is computing for a build, which then fails with its InterruptException; for other threads."""
        con = self._con
        if con is not None:
            with suppress(duckdb.ConnectionException):  # it is being closed
                con.interrupt()

    def close(self) -> None:
        """End the sessions and give back DuckDB's memory."""
        self._keeper.close()
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- reading

    def _read(self, dataset: Dataset, partition: Partition, close: bool, erasing: str | None) -> _State:
        record = self._catalog.datasets.find(dataset.name)
        if record is None:
            raise InputError(f"dataset {dataset.name!r} is not in the catalog yet; land something in it first")
        dataset = self._in_target(effective(dataset, record), record.storage)
        known = self._catalog.partitions.find(record.id, partition)
        segments: tuple[Segment, ...] = ()
        retracted = NOTHING
        plan = BuildPlan()
        if known is not None and known.state != "expired":
            segments = tuple(self._catalog.manifest.segments(record.id, partition=partition, with_stats=False))
            retracted = self._catalog.manifest.retracted(record.id) if known.retracted else retracted
            if erasing is not None:
                plan = plan_erasure(segments, closed=known.state != "open")
            else:
                plan = plan_build(
                    self._as_named_now(segments, record),
                    dataset=dataset,
                    closed=close or self._closed(dataset, record, partition, known),
                    sealed=known.state == "sealed",
                    retracted=retracted,
                    outdated=outdated_versions(self._catalog, record, among={one.schema_version for one in segments}),
                )
        return _State(
            dataset=dataset,
            record=record,
            partition=partition,
            known=known,
            segments=segments,
            retracted=retracted,
            plan=plan,
            erasing=erasing,
        )

    def _in_target(self, dataset: Dataset, target: str) -> Dataset:
        """With formats that suit the target: a `.duckdb` file comes out of a bucket as a whole, so `auto` means Parquet there."""
        is_remote = self._context.storage.target(target).path(dataset.name) is None
        if not is_remote or dataset.segments.format != "auto":
            return dataset
        return replace(dataset, segments=replace(dataset.segments, format="parquet"))

    def _as_named_now(self, segments: Sequence[Segment], record: DatasetRecord) -> Sequence[Segment]:
        """Segments that say by what they are sorted under the names that those columns have now."""
        if not record.schema.was_migrated:
            return segments
        return [
            replace(one, sorted_by=tuple(names.get(name, name) for name in one.sorted_by))
            for one in segments
            if (names := renamed(self._catalog.datasets.schema(record.id, one.schema_version), record.schema)) is not None
        ]

    def _closed(self, dataset: Dataset, record: DatasetRecord, partition: Partition, known: PartitionRecord) -> bool:
        rule = partial(is_closed, partition, known, dataset=dataset, now=self._context.clock())
        feeds = source_progress(self._catalog, record.id, dataset)
        if rule(feeds=feeds, newest=self._newest.get(record.id)):
            return True
        if feeds.pending_files or feeds.watermarks:
            return False
        # the newest time only grows, so the list of all partitions is read only when the last known one does not settle it
        times = [found.max_time for found in self._catalog.partitions.of(record.id) if found.max_time]
        if not times:
            return False
        self._newest[record.id] = max(times)
        return rule(feeds=feeds, newest=max(times))

    # --- building

    def _build_claimed(self, state: _State, *, close: bool, report: bool, actor: str) -> Merged | None:
        where = f"partition {state.partition.key} of {state.dataset.name}"
        resource = f"build:{state.record.id}:{state.partition.key}"
        lease = self._keeper.hold(resource, holder=self._holder, ttl=self._ttl)
        if lease is None:
            raise ConflictError(f"{where} is being built by somebody else; wait for it, or try again in half a minute")
        with lease:
            for _ in _REPLANNED.tries():
                merged = self._attempt(state, lease, report=report, actor=actor)
                if merged is not None:
                    return merged
                # a landing or another build came first
                state = self._read(state.dataset, state.partition, close, state.erasing)
                if state.plan.nothing:
                    return None
        raise ConflictError(
            f"{where} changed {_REPLANNED.attempts} times while it was being built; try again when less is landing in it"
        )

    def _attempt(self, state: _State, lease: HeldLease, *, report: bool, actor: str) -> Merged | None:
        """Merge and commit; None when the catalog had moved on, so that the plan no longer holds."""
        session_id, started = self._sessions.of(state.record.id), time.perf_counter()
        try:
            with staging_folder(self._context, state.record, "build") as folder:
                merged = self._merge(state, session_id, folder) if state.plan.merge else Merged(content_hash=EMPTY)
                merged = replace(merged, tickets=self._tickets(state))
                commit = _commit(state, merged, session_id, started, report=report, actor=actor)
                publish(self._context, state.record, commit, merged.uploads, lease=lease)
        except ConflictError:
            lease.check()
            self._sessions.end(state.record.id)
            return None
        return merged

    def _tickets(self, state: _State) -> tuple[str, ...]:
        """Of migrations that came after some of the rows were written, which are written in their columns now."""
        oldest = min((one.schema_version for one in state.plan.merge), default=None)
        schema = state.record.schema
        if oldest is None or oldest >= schema.version or not schema.was_migrated:
            return ()
        return self._catalog.migrations.tickets(state.record.id, after=oldest, until=schema.version)

    def _merge(self, state: _State, session_id: int, folder: Path) -> Merged:
        try:
            return merge(self._connection(), self._job(state, session_id, folder))
        except BaseException:
            # a connection that failed or was interrupted half-way may hold tables, files and memory
            self._disconnect()
            raise

    def _job(self, state: _State, session_id: int, folder: Path) -> MergeJob:
        attempt = token_hex(4)
        kind = "sealed" if state.plan.kind == "sealed" else "merged"
        folder_name = f"{state.dataset.name}/{state.partition.path_name}"

        def name(n: int, format: SegmentFormat) -> str:
            return f"{folder_name}/{kind}-{session_id}-{n}-{attempt}.{format}"

        def schema_of(version: int) -> Schema:
            return self._catalog.datasets.schema(state.record.id, version)

        return MergeJob(
            dataset=state.dataset,
            partition=state.partition,
            plan=state.plan,
            schema=state.record.schema,
            schema_of=schema_of,
            retracted=state.retracted,
            digests=self._catalog.manifest.digests([segment.id for segment in state.plan.merge]),
            storage=self._context.storage,
            folder=folder,
            temp_dir=self._context.limits.temp_dir,
            name=name,
            erasing=state.erasing,
        )

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            self._con = connect(self._context.limits)
        return self._con

    def _disconnect(self) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None


def _commit(state: _State, merged: Merged, session_id: int, started: float, *, report: bool, actor: str) -> BuildCommit:
    return BuildCommit(
        dataset_id=state.record.id,
        session_id=session_id,
        partition=state.partition,
        replaces=tuple(segment.id for segment in state.plan.merge),
        segments=tuple(replace(segment, storage=state.record.storage) for segment in merged.segments),
        seal=state.plan.seal,
        superseded_rows=merged.superseded_rows,
        retracted_rows=merged.retracted_rows,
        read_version=state.record.manifest_version,
        erased_rows=merged.erased_rows,
        content_hash=merged.content_hash,
        tickets=merged.tickets,
        report=report,
        actor=actor,
        seconds=time.perf_counter() - started,
    )


def _report(
    record: DatasetRecord, partition: Partition, known: PartitionRecord | None, merged: Merged | None, started: float
) -> BuildReport:
    """The partition as the catalog has it after the build."""
    outcome: Outcome = "built" if merged is not None else "unchanged"
    return BuildReport(
        partition=partition,
        outcome=outcome if known is not None and known.segments else "empty",
        state=known.state if known else "open",
        rows=known.rows if known else 0,
        bytes=known.bytes if known else 0,
        segments=known.segments if known else 0,
        superseded_rows=merged.superseded_rows if merged else 0,
        erased_rows=merged.erased_rows if merged else 0,
        tickets=merged.tickets if merged else (),
        content_hash=known.content_hash if known else None,
        min_time=known.min_time if known else None,
        max_time=known.max_time if known else None,
        manifest_version=known.manifest_version if known else record.manifest_version,
        schema_version=known.schema_version if known else record.schema.version,
        seconds=time.perf_counter() - started,
    )
