"""Building a partition: claim it, merge its segments, publish the result in one transaction, and report what was done.

Nothing here knows Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Literal, Self, TypeVar

import duckdb

from timestore_assets.building.build_job import BuildRequest, commit_of, job_of, tickets
from timestore_assets.building.build_sessions import BuildSessions
from timestore_assets.building.group_builder import GroupBuilder
from timestore_assets.building.group_plan import GROUP_PARTITIONS, runs
from timestore_assets.building.merge import Merged, merge
from timestore_assets.building.partition_states import BuildState, StateReader
from timestore_assets.catalog.lease_keeper import HeldLease, LeaseKeeper
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import DatasetRecord, PartitionRecord, PartitionState
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.window import Partition
from timestore_assets.ownership.target_claim import claim as claim_target
from timestore_assets.retry import CONFLICT
from timestore_assets.segments.engine import connect
from timestore_assets.segments.publishing import WriteContext, publish, staging_folder

T = TypeVar("T")
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
        self._states = StateReader(context)
        self._groups = GroupBuilder(
            context,
            keeper=self._keeper,
            sessions=self._sessions,
            holder=self._holder,
            ttl=lease,
            on_connection=self._on_connection,
        )
        self._con: duckdb.DuckDBPyConnection | None = None

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

    def build_each(
        self, dataset: Dataset, partitions: Sequence[Partition], *, close: bool, report: bool = True, actor: str
    ) -> Generator[BuildReport, None, None]:
        """As `build`, in this order; small ones are built together, and reported once all of them are committed.

        An error is that of the first partition which is not reported; those before it are built, and some behind it may be. What
        is built and not taken from here, because the caller fails or is broken off, Dagster is told by an event after all.
        """
        for chunk in chunked(partitions, GROUP_PARTITIONS):
            states = self._states.read_each(dataset, chunk, close=close)
            claim_target(self._catalog, self._context.storage, states[0].record.storage)
            for run in runs(states, memory_bytes=self._context.limits.memory_bytes):
                built = dict(self._groups.build(run, report=report, actor=actor))
                try:
                    for state in run:
                        done = built.get(state.partition)
                        if done is not None:
                            yield _report(state.record, state.partition, done.known, done.merged, done.seconds)
                            del built[state.partition]
                        elif state.plan.nothing:
                            yield _report(state.record, state.partition, state.known, None, 0.0)
                        else:
                            yield self.build(dataset, state.partition, close=close, report=report, actor=actor)
                finally:
                    if not report:
                        self._groups.tell(built.values())

    def erase(self, dataset: Dataset, partition: Partition, condition: str, *, actor: str) -> int:
        """Write a partition anew without the rows for which a condition is true; returns how many those were.

        `condition`: SQL over the stored columns. What is unbuilt stays a delta, what is sealed is sealed anew. Errors as `build`.
        """
        return self._build(dataset, partition, condition, close=False, report=True, actor=actor).erased_rows

    def _build(
        self, dataset: Dataset, partition: Partition, erasing: str | None, *, close: bool, report: bool, actor: str
    ) -> BuildReport:
        started = time.perf_counter()
        state = self._states.read(dataset, partition, close=close, erasing=erasing)
        claim_target(self._catalog, self._context.storage, state.record.storage)
        if state.plan.nothing:
            return _report(state.record, partition, state.known, None, time.perf_counter() - started)
        merged = self._build_claimed(state, close=close, report=report, actor=actor)
        known = self._catalog.partitions.find(state.record.id, partition)
        return _report(state.record, partition, known, merged, time.perf_counter() - started)

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

    def _build_claimed(self, state: BuildState, *, close: bool, report: bool, actor: str) -> Merged | None:
        where = f"partition {state.partition.key} of {state.dataset.name}"
        lease = self._keeper.hold(state.resource, holder=self._holder, ttl=self._ttl)
        if lease is None:
            raise ConflictError(f"{where} is being built by somebody else; wait for it, or try again in half a minute")
        with lease:
            for _ in _REPLANNED.tries():
                merged = self._attempt(state, lease, report=report, actor=actor)
                if merged is not None:
                    return merged
                # a landing or another build came first
                state = self._states.read(state.dataset, state.partition, close=close, erasing=state.erasing)
                if state.plan.nothing:
                    return None
        raise ConflictError(
            f"{where} changed {_REPLANNED.attempts} times while it was being built; try again when less is landing in it"
        )

    def _attempt(self, state: BuildState, lease: HeldLease, *, report: bool, actor: str) -> Merged | None:
        """Merge and commit; None when the catalog had moved on, so that the plan no longer holds."""
        session_id, started = self._sessions.of(state.record.id), time.perf_counter()
        try:
            with staging_folder(self._context, state.record, "build") as folder:
                merged = self._merge(state, session_id, folder) if state.plan.merge else Merged(content_hash=EMPTY)
                merged = replace(merged, tickets=tickets(self._catalog, state))
                asked = BuildRequest(report=report, actor=actor, seconds=time.perf_counter() - started)
                commit = commit_of(state, merged, session_id, asked)
                publish(self._context, state.record, commit, merged.uploads, lease=lease)
        except ConflictError:
            lease.check()
            self._sessions.end(state.record.id)
            return None
        return merged

    def _merge(self, state: BuildState, session_id: int, folder: Path) -> Merged:
        digests = self._catalog.manifest.digests([segment.id for segment in state.plan.merge])
        job = job_of(self._context, state, session_id, folder, digests)
        return self._on_connection(lambda con: merge(con, job))

    def _on_connection(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        try:
            return work(self._connection())
        except BaseException:
            # a connection that failed or was interrupted half-way may hold tables, files and memory
            self._disconnect()
            raise

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            self._con = connect(self._context.limits)
        return self._con

    def _disconnect(self) -> None:
        if self._con is not None:
            self._con.close()
            self._con = None


def _report(
    record: DatasetRecord, partition: Partition, known: PartitionRecord | None, merged: Merged | None, seconds: float
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
        seconds=seconds,
    )
