"""The transaction of many small partitions that are built together: as `build_commit` for one, in a few statements for all.

Each build gets a manifest version of its own, so that whoever goes by versions finds what single builds would have left. Only the
plain case is done here: what was retracted, or changed since it was read, is refused as a whole, and built one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from timestore_assets.catalog import audit, datasets, manifest, outbox, partitions, sessions
from timestore_assets.catalog.build_commit import details, payload, require_account, require_its_own, sealed_meanwhile
from timestore_assets.catalog.commit_values import BuildCommit, BuildGroupCommit
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.manifest import LiveSegment
from timestore_assets.catalog.records import PartitionState
from timestore_assets.model.errors import ConflictError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Swap:
    """A build, the version that it makes, and the state of its partition (by start) from then on."""

    build: BuildCommit
    version: int
    start: int
    state: PartitionState


def commit(connection: Connection, group: BuildGroupCommit, *, token: str, now: int) -> int:  # noqa: ARG001 - each build writes its own
    """See `Commits.build_group`."""
    dataset = datasets.lock(connection, group.dataset_id)
    _require_nothing_retracted(connection, group)
    swaps = _swaps(connection, dataset, group)
    sessions.fulfil(connection, group.session_id, group.objects)
    gone = [(segment_id, swap.version) for swap in swaps for segment_id in swap.build.replaces]
    manifest.supersede_each(connection, gone, now=now)
    come = [(segment, swap.version) for swap in swaps for segment in swap.build.segments]
    manifest.add_each(connection, dataset, come, now=now)
    version = swaps[-1].version
    manifest.set_version(connection, dataset.id, version, now=now)
    partitions.built_each(connection, dataset.id, map(_moved, swaps))
    partitions.fulfil_requests(connection, dataset.id, [swap.start for swap in swaps])
    _tell(connection, dataset, swaps, now=now)
    return version


def _require_nothing_retracted(connection: Connection, group: BuildGroupCommit) -> None:
    since = min(build.read_version or 0 for build in group.builds)
    if manifest.retracted(connection, group.dataset_id, version=None) or manifest.changed_sources(
        connection, group.dataset_id, since=since
    ):
        raise ConflictError("rows were retracted, or taken back, meanwhile; build these partitions one by one")


def _swaps(connection: Connection, dataset: Row[Any], group: BuildGroupCommit) -> list[_Swap]:
    starts = [to_micros(build.partition.start) for build in group.builds]
    live = manifest.live_in(connection, dataset.id, starts)
    before = partitions.states(connection, dataset.id, starts)
    return [
        _swap(build, start, version, live.get(start, {}), before.get(start))
        for version, (start, build) in enumerate(zip(starts, group.builds, strict=True), start=dataset.manifest_version + 1)
    ]


def _swap(build: BuildCommit, start: int, version: int, live: Mapping[int, LiveSegment], before: PartitionState | None) -> _Swap:
    """What a build changes in a partition with these live segments, once it is sure that it may.

    Raises:
        ConflictError: not all segments that it replaces are live any more, or sealed ones have come.
    """
    require_its_own(build)
    if before is None or not build.replaces or any(segment_id not in live for segment_id in build.replaces):
        raise ConflictError("another build has replaced some of these segments; plan these builds again")
    left = {row.kind for segment_id, row in live.items() if segment_id not in build.replaces}
    if build.seal and partitions.SEALED in left:
        raise sealed_meanwhile(build)
    require_account(build, gone=sum(live[segment_id].rows for segment_id in build.replaces))
    state = partitions.next_state(before, seal=build.seal, unbuilt="delta" in left or not _seals(build), retracted=False)
    return _Swap(build=build, version=version, start=start, state=state)


def _seals(build: BuildCommit) -> bool:
    return all(segment.kind == "sealed" for segment in build.segments)


def _moved(swap: _Swap) -> partitions.BuiltPartition:
    return partitions.BuiltPartition(
        start=swap.start,
        state=swap.state,
        superseded_rows=swap.build.superseded_rows,
        content_hash=swap.build.content_hash if swap.state == partitions.SEALED else None,
        version=swap.version,
    )


def _tell(connection: Connection, dataset: Row[Any], swaps: Sequence[_Swap], *, now: int) -> None:
    told = [(swap, payload(swap.build, dataset, swap.state, version=swap.version)) for swap in swaps]
    audit.record_each(
        connection,
        dataset.id,
        [
            audit.AuditEntry(
                actor=swap.build.actor,
                action="built",
                details=details(swap.build, what),
                token=swap.build.token,
                manifest_version=swap.version,
            )
            for swap, what in told
        ],
        now=now,
    )
    outbox.queue_each(connection, dataset.id, "partition_built", [what for swap, what in told if swap.build.report], now=now)
