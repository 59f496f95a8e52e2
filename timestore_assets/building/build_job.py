"""From a partition's state to the job of its merge, and from what was merged to the commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from timestore_assets.building.merge import Merged, MergeJob
from timestore_assets.building.partition_states import BuildState
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import BuildCommit
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import SegmentFormat
from timestore_assets.segments.publishing import WriteContext


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRequest:
    """Who asked, whether Dagster is told, and how long it took."""

    report: bool
    actor: str
    seconds: float


def job_of(context: WriteContext, state: BuildState, session_id: int, folder: Path, digests: Mapping[int, str]) -> MergeJob:
    """What to merge, for `merge`. `digests`: of the segments' bytes as they were committed, by id."""
    attempt = token_hex(4)
    kind = "sealed" if state.plan.kind == "sealed" else "merged"
    folder_name = f"{state.dataset.name}/{state.partition.path_name}"

    def name(n: int, format: SegmentFormat) -> str:
        return f"{folder_name}/{kind}-{session_id}-{n}-{attempt}.{format}"

    def schema_of(version: int) -> Schema:
        return context.catalog.datasets.schema(state.record.id, version)

    return MergeJob(
        dataset=state.dataset,
        partition=state.partition,
        plan=state.plan,
        schema=state.record.schema,
        schema_of=schema_of,
        retracted=state.retracted,
        digests=digests,
        storage=context.storage,
        folder=folder,
        temp_dir=context.limits.temp_dir,
        name=name,
        erasing=state.erasing,
    )


def tickets(catalog: Catalog, state: BuildState) -> tuple[str, ...]:
    """Of migrations that came after some of the rows were written, which are written in their columns now."""
    oldest = min((one.schema_version for one in state.plan.merge), default=None)
    schema = state.record.schema
    if oldest is None or oldest >= schema.version or not schema.was_migrated:
        return ()
    return catalog.migrations.tickets(state.record.id, after=oldest, until=schema.version)


def commit_of(state: BuildState, merged: Merged, session_id: int, asked: BuildRequest) -> BuildCommit:
    """What the catalog is told of a build."""
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
        report=asked.report,
        actor=asked.actor,
        seconds=asked.seconds,
    )
