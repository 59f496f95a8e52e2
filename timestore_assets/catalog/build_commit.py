"""The transaction of a partition that is built.

A build replaces exactly the segments that it has read: they go, their merged successors come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from timestore_assets.catalog import audit, datasets, manifest, outbox, partitions, sessions
from timestore_assets.catalog.commit_values import BuildCommit
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.records import PartitionState
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.window import format_time


def commit(connection: Connection, build: BuildCommit, *, token: str, now: int) -> int:
    """See `Commits.build`. A build that changes nothing leaves only the request for it fulfilled."""
    require_its_own(build)
    dataset = datasets.lock(connection, build.dataset_id)
    start = to_micros(build.partition.start)
    if build.read_version is not None:
        manifest.require_unchanged(connection, dataset.id, build.replaces, since=build.read_version)
    swapped = bool(build.replaces or build.segments)
    version: int = dataset.manifest_version + swapped
    gone = manifest.supersede(connection, dataset.id, start, build.replaces, version=version, now=now)
    anew = build.seal and (build.segments or build.content_hash == EMPTY)
    if anew and partitions.has_sealed(connection, dataset.id, start):
        raise sealed_meanwhile(build)
    require_account(build, gone=gone)
    sessions.fulfil(connection, build.session_id, build.objects)
    manifest.add(connection, dataset, build.segments, version=version, waiting_for=None, now=now)
    if swapped:
        manifest.set_version(connection, dataset.id, version, now=now)
    state = _move_partition(connection, build, start, swapped=swapped, version=version)
    requested = partitions.fulfil_request(connection, dataset.id, start)
    if swapped or state or requested:
        _tell(connection, build, dataset, state, token=token, version=version, now=now)
    return version


def require_its_own(build: BuildCommit) -> None:
    if any(segment.partition_start != build.partition.start for segment in build.segments):
        raise ValueError(f"a build of {build.partition.key} made segments of another partition")


def _move_partition(
    connection: Connection, build: BuildCommit, start: int, *, swapped: bool, version: int
) -> PartitionState | None:
    """Recompute the partition's row; returns its state, None when nothing about it changed."""
    before = partitions.find(connection, build.dataset_id, start)
    if before is None:
        return None
    left = manifest.left_behind(connection, build.dataset_id, start)
    state = partitions.next_state(
        before.state,
        seal=build.seal,
        unbuilt=partitions.has_unbuilt(connection, build.dataset_id, start),
        retracted=left,
    )
    if not swapped and state == before.state and left == before.retracted:
        return None
    partitions.built(
        connection,
        build.dataset_id,
        start,
        state=state,
        superseded_rows=build.superseded_rows,
        retracted=left,
        content_hash=(build.content_hash or before.content_hash) if state == partitions.SEALED else None,
        version=version if swapped else before.manifest_version,
    )
    if manifest.retracted(connection, build.dataset_id, version=None):
        losing = partitions.losing_rows(connection, build.dataset_id)
        manifest.finish_retractions(connection, build.dataset_id, losing, version=version)
    return state


def require_account(build: BuildCommit, *, gone: int) -> None:
    """See that a build says of each row that it replaces what became of it."""
    came = sum(segment.rows for segment in build.segments)
    if gone != came + build.superseded_rows + build.retracted_rows + build.erased_rows:
        raise ValueError(
            f"a build of {build.partition.key} read {gone} rows and accounts for {came} kept, "
            f"{build.superseded_rows} superseded and {build.retracted_rows} retracted ones, and {build.erased_rows} erased"
        )


def sealed_meanwhile(build: BuildCommit) -> ConflictError:
    """Sealed segments are disjoint: one that a rollback brought back meanwhile has to be merged, too."""
    return ConflictError(f"partition {build.partition.key} got sealed segments meanwhile; plan this build again")


def _tell(
    connection: Connection,
    build: BuildCommit,
    dataset: Row[Any],
    state: PartitionState | None,
    *,
    token: str,
    version: int,
    now: int,
) -> None:
    told = payload(build, dataset, state, version=version)
    audit.record(
        connection,
        dataset.id,
        actor=build.actor,
        action="built",
        details=details(build, told),
        now=now,
        token=token,
        manifest_version=version,
    )
    if build.report and state is not None:
        outbox.queue(connection, dataset.id, "partition_built", told, now=now)


def payload(build: BuildCommit, dataset: Row[Any], state: PartitionState | None, *, version: int) -> dict[str, Any]:
    """What Dagster is told of a build."""
    return {
        "partition": build.partition.key,
        "state": state,
        "rows": sum(segment.rows for segment in build.segments),
        "bytes": sum(segment.bytes for segment in build.segments),
        "segments": [segment.name for segment in build.segments],
        "superseded_rows": build.superseded_rows,
        "retracted_rows": build.retracted_rows,
        "content_hash": build.content_hash,
        "schema_version": max((segment.schema_version for segment in build.segments), default=dataset.schema_version),
        "min_time": _bound(min, [segment.min_time for segment in build.segments]),
        "max_time": _bound(max, [segment.max_time for segment in build.segments]),
        "manifest_version": version,
        **({"tickets": list(build.tickets)} if build.tickets else {}),
    }


def details(build: BuildCommit, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit says of it."""
    counts = {"segments": len(build.segments), "replaced": len(build.replaces)}
    found = {**told, **counts, "session": build.session_id, "seconds": round(build.seconds, 3)}
    return found | ({"erased_rows": build.erased_rows} if build.erased_rows else {})


def _bound(choose: Any, times: list[Any]) -> str | None:
    return format_time(choose(times)) if times else None
