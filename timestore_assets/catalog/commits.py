"""The two transactions that make a manifest version: of a batch that lands (`landing_commit`), and of a partition that is built.

A build replaces exactly the segments that it has read: they go, their merged successors come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import audit, datasets, landing_commit, manifest, outbox, partitions, sessions
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.commit_values import BuildCommit, LandingCommit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.instants import to_micros
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import PartitionState
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.tables import idempotency_keys
from timestore_assets.model.errors import ConflictError
from timestore_assets.model.hash_sums import EMPTY
from timestore_assets.model.window import format_time

C = TypeVar("C", LandingCommit, BuildCommit)


class Commits:
    """Each method is one transaction. `progress`: the manifest versions that this process has seen."""

    def __init__(self, database: Database, progress: SeenVersions) -> None:
        self._database, self._progress = database, progress

    def land(self, commit: LandingCommit) -> int:
        """Commit a batch; returns the manifest version (unchanged when nothing became visible).

        Raises:
            ConflictError: a checkpoint, a claim, the base schema version, an intent, an idempotency key or a dead-letter file to
                settle was not as expected.
            UnknownOutcomeError: the connection broke during COMMIT and could not be made again to settle it; see `committed`.
        """
        return self._write(commit, landing_commit.commit)

    def build(self, commit: BuildCommit) -> int:
        """Swap segments; returns the manifest version. Errors as `land`."""
        return self._write(commit, _build)

    def _write(self, commit: C, make: Callable[..., int]) -> int:
        seen = self._progress.seen
        version = write_once(self._database, lambda c, token, now: make(c, commit, token=token, now=now), commit.token)
        self._progress.note(commit.dataset_id, version, seen)
        return version

    def committed(self, token: str) -> int | None:
        """The manifest version that a commit left, by its token; None when it did not happen, and will not any more."""
        return self._database.write(lambda connection: audit.committed(connection, token))

    def known_keys(self, dataset_id: int, keys: Sequence[str]) -> dict[str, str]:
        """Of these idempotency keys those already used, with their digests."""
        c = idempotency_keys.c

        def read(connection: Connection) -> dict[str, str]:
            found: dict[str, str] = {}
            for chunk in chunked(dict.fromkeys(keys)):
                rows = connection.execute(select(c.key, c.digest).where(c.dataset_id == dataset_id, c.key.in_(chunk)))
                found.update((row.key, row.digest) for row in rows)
            return found

        return self._database.read(read)


def _build(connection: Connection, build: BuildCommit, *, token: str, now: int) -> int:
    """See `Commits.build`. A build that changes nothing leaves only the request for it fulfilled."""
    _check(build)
    dataset = datasets.lock(connection, build.dataset_id)
    start = to_micros(build.partition.start)
    if build.read_version is not None:
        manifest.require_unchanged(connection, dataset.id, build.replaces, since=build.read_version)
    swapped = bool(build.replaces or build.segments)
    version: int = dataset.manifest_version + swapped
    gone = manifest.supersede(connection, dataset.id, start, build.replaces, version=version, now=now)
    anew = build.seal and (build.segments or build.content_hash == EMPTY)
    if anew and partitions.has_sealed(connection, dataset.id, start):
        # sealed segments are disjoint: one that a rollback brought back meanwhile has to be merged, too
        raise ConflictError(f"partition {build.partition.key} got sealed segments meanwhile; plan this build again")
    came = sum(segment.rows for segment in build.segments)
    if gone != came + build.superseded_rows + build.retracted_rows + build.erased_rows:
        raise ValueError(
            f"a build of {build.partition.key} read {gone} rows and accounts for {came} kept, "
            f"{build.superseded_rows} superseded and {build.retracted_rows} retracted ones, and {build.erased_rows} erased"
        )
    sessions.fulfil(connection, build.session_id, build.objects)
    manifest.add(connection, dataset, build.segments, version=version, waiting_for=None, now=now)
    if swapped:
        manifest.set_version(connection, dataset.id, version, now=now)
    state = _move_partition(connection, build, start, swapped=swapped, version=version)
    requested = partitions.fulfil_request(connection, dataset.id, start)
    if swapped or state or requested:
        _tell(connection, build, dataset, state, token=token, version=version, now=now)
    return version


def _check(build: BuildCommit) -> None:
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
        **({"tickets": list(build.tickets)} if build.tickets else {}),
    }
    counts = {"segments": len(build.segments), "replaced": len(build.replaces)}
    details = payload | counts | {"session": build.session_id, "seconds": round(build.seconds, 3)}
    details |= {"erased_rows": build.erased_rows} if build.erased_rows else {}
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
