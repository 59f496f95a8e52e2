"""The build transaction: exactly the segments that were read go, their merged successors come."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from timestore_assets.catalog import audit, datasets, manifest, outbox, partitions, sessions
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.records import BuildCommit, PartitionState
from timestore_assets.model.window import format_time


def commit(connection: Connection, build: BuildCommit, *, token: str, now: int) -> int:
    """See `Catalog.commit_build`. A build that changes nothing leaves only the request for it fulfilled."""
    _check(build)
    dataset = datasets.lock(connection, build.dataset_id)
    start = to_micros(build.partition.start)
    swapped = bool(build.replaces or build.segments)
    version: int = dataset.manifest_version + swapped
    gone = manifest.supersede(connection, dataset.id, start, build.replaces, version=version, now=now)
    came = sum(segment.rows for segment in build.segments)
    if gone != came + build.superseded_rows + build.retracted_rows:
        raise ValueError(
            f"a build of {build.partition.key} read {gone} rows and accounts for {came} kept, {build.superseded_rows} superseded "
            f"and {build.retracted_rows} retracted ones"
        )
    sessions.fulfil(connection, build.session_id, build.intents)
    manifest.add(connection, dataset, build.segments, version=version, waiting_for=None, now=now)
    if swapped:
        manifest.set_version(connection, dataset.id, version, now=now)
    state = _move_partition(connection, build, start, swapped=swapped, version=version)
    requested = partitions.fulfil_request(connection, dataset.id, start)
    if swapped or state or requested:
        _tell(connection, build, dataset, state, token=token, version=version, now=now)
    return version


def _check(build: BuildCommit) -> None:
    names = {segment.name for segment in build.segments}
    if not names <= set(build.intents):
        raise ValueError(f"objects without an intent: {sorted(names - set(build.intents))}")
    if any(segment.partition_start != build.partition.start for segment in build.segments):
        raise ValueError(f"a build of {build.partition.key} made segments of another partition")


def _move_partition(
    connection: Connection, build: BuildCommit, start: int, *, swapped: bool, version: int
) -> PartitionState | None:
    """Recompute the partition's row; returns its state, None when nothing about it changed."""
    before = partitions.find(connection, build.dataset_id, start)
    if before is None:
        return None
    hidden = manifest.retracted(connection, build.dataset_id, version=None)
    held = manifest.holding(connection, build.dataset_id, hidden, partition_start=start)
    state = partitions.next_state(
        before.state,
        seal=build.seal,
        unbuilt=partitions.has_unbuilt(connection, build.dataset_id, start),
        retracted=bool(held),
    )
    if not swapped and state == before.state:
        return None
    partitions.built(
        connection,
        build.dataset_id,
        start,
        state=state,
        superseded_rows=build.superseded_rows,
        retracted=bool(held),
        content_hash=(build.content_hash or before.content_hash) if state == partitions.SEALED else None,
        version=version if swapped else before.manifest_version,
    )
    if hidden:
        _finish_retractions(connection, build.dataset_id, hidden, version=version)
    return state


def _finish_retractions(connection: Connection, dataset_id: int, hidden: frozenset[int], *, version: int) -> None:
    left = set().union(*manifest.holding(connection, dataset_id, hidden).values())
    manifest.forget_retractions(connection, dataset_id, sorted(hidden - left), version=version)


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
    rows = sum(segment.rows for segment in build.segments)
    payload = {
        "partition": build.partition.key,
        "state": state,
        "rows": rows,
        "bytes": sum(segment.bytes for segment in build.segments),
        "segments": [segment.name for segment in build.segments],
        "superseded_rows": build.superseded_rows,
        "retracted_rows": build.retracted_rows,
        "content_hash": build.content_hash,
        "schema_version": max((segment.schema_version for segment in build.segments), default=dataset.schema_version),
        "min_time": _bound(min, [segment.min_time for segment in build.segments]),
        "max_time": _bound(max, [segment.max_time for segment in build.segments]),
        "manifest_version": version,
    }
    details = payload | {"segments": len(build.segments), "replaced": len(build.replaces)}
    audit.record(
        connection,
        dataset.id,
        actor=build.actor,
        action="built",
        details=details,
        now=now,
        token=token,
        manifest_version=version,
    )
    if build.report and state is not None:
        outbox.queue(connection, dataset.id, "partition_built", payload, now=now)


def _bound(choose: Any, times: list[Any]) -> str | None:
    return format_time(choose(times)) if times else None
