"""Building small partitions together: one claim of all that are free, one merge, one publication, one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from timestore_assets.building.build_job import BuildRequest, commit_of, job_of
from timestore_assets.building.build_sessions import BuildSessions
from timestore_assets.building.group_merge import UngroupedError, merge_group
from timestore_assets.building.group_plan import is_small
from timestore_assets.building.merge import Merged
from timestore_assets.building.partition_states import BuildState
from timestore_assets.catalog.commit_values import BuildCommit, BuildGroupCommit
from timestore_assets.catalog.lease_keeper import HeldLeases, LeaseKeeper
from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.model.errors import TimestoreError, UnknownOutcomeError
from timestore_assets.model.window import Partition
from timestore_assets.segments.publishing import WriteContext, publish, staging_folder

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltTogether:
    """A partition that was built in a group, as the catalog has it since."""

    merged: Merged
    commit: BuildCommit
    known: PartitionRecord | None
    seconds: float
    """Its share of the time."""


class OnConnection(Protocol):
    """Does work on the builder's DuckDB connection."""

    def __call__(self, work: Callable[[duckdb.DuckDBPyConnection], list[Merged]], /) -> list[Merged]: ...


class GroupBuilder:
    """Builds groups for one builder, whose sessions, leases and connection it uses."""

    def __init__(
        self,
        context: WriteContext,
        on_connection: OnConnection,
        *,
        keeper: LeaseKeeper,
        sessions: BuildSessions,
        holder: str,
        ttl: timedelta,
    ) -> None:
        self._context, self._keeper, self._sessions = context, keeper, sessions
        self._holder, self._ttl, self._on_connection = holder, ttl, on_connection

    def build(self, run: Sequence[BuildState], *, report: bool, actor: str) -> Mapping[Partition, BuiltTogether]:
        """Build those of a run's partitions that can be built together; what is not in the answer is to be built by itself.

        That is so for one that somebody else is building, and for all of them where anything comes in between or fails: each by
        itself, as ever, says what it is and whom it concerns.

        Raises:
            UnknownOutcomeError: it may or may not have happened. duckdb.InterruptException: the connection was interrupted.
        """
        states = [state for state in run if not state.plan.nothing]
        if len(states) < 2 or not all(map(is_small, states)):
            return {}
        began = time.perf_counter()
        try:
            leases = self._keeper.hold_each([state.resource for state in states], holder=self._holder, ttl=self._ttl)
            with leases:
                free = [state for state in states if state.resource in leases.resources]
                if len(free) < 2:
                    return {}
                done = self._published(free, leases, began, report=report, actor=actor)
            known = self._context.catalog.partitions.among(free[0].record.id, [state.partition for state in free])
        except (duckdb.InterruptException, UnknownOutcomeError):
            raise
        except (TimestoreError, UngroupedError, duckdb.Error, pa.ArrowException, OSError) as error:
            LOG.info("%d partitions of %s are built one by one: %s", len(states), states[0].dataset.name, error)
            self._sessions.end(states[0].record.id)
            return {}
        seconds = (time.perf_counter() - began) / len(free)
        return {
            commit.partition: BuiltTogether(merged=one, commit=commit, known=known.get(commit.partition.start), seconds=seconds)
            for one, commit in done
        }

    def tell(self, unreported: Collection[BuiltTogether]) -> None:
        """Have Dagster told by the relay of builds that were not reported before whoever asked for them was broken off."""
        told = [(one.commit, one.known.state, one.known.manifest_version) for one in unreported if one.known is not None]
        if told:
            self._context.catalog.commits.tell_built(told[0][0].dataset_id, told)

    def _published(
        self, states: Sequence[BuildState], leases: HeldLeases, began: float, *, report: bool, actor: str
    ) -> list[tuple[Merged, BuildCommit]]:
        record = states[0].record
        session_id = self._sessions.of(record.id)
        with staging_folder(self._context, record, "build") as folder:
            merged = self._merged(states, session_id, folder)
            asked = BuildRequest(report=report, actor=actor, seconds=(time.perf_counter() - began) / len(states))
            builds = [commit_of(state, one, session_id, asked) for state, one in zip(states, merged, strict=True)]
            uploads = [upload for one in merged for upload in one.uploads]
            publish(self._context, record, BuildGroupCommit(builds=tuple(builds)), uploads, lease=leases)
        return list(zip(merged, builds, strict=True))

    def _merged(self, states: Sequence[BuildState], session_id: int, folder: Path) -> list[Merged]:
        catalog = self._context.catalog
        digests = catalog.manifest.digests([segment.id for state in states for segment in state.plan.merge])
        jobs = [job_of(self._context, state, session_id, folder, digests) for state in states]
        return self._on_connection(lambda con: merge_group(con, jobs))
