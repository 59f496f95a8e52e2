"""The transactions that make manifest versions: of a batch that lands (`landing_commit`), of a partition that is built
(`build_commit`), and of many small ones that are built together (`build_group_commit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, select

from timestore_assets.catalog import audit, build_commit, build_group_commit, datasets, landing_commit, outbox
from timestore_assets.catalog.audit import write_once
from timestore_assets.catalog.commit_values import BuildCommit, BuildGroupCommit, LandingCommit
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.portable import chunked
from timestore_assets.catalog.records import PartitionState
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.tables import idempotency_keys

C = TypeVar("C", LandingCommit, BuildCommit, BuildGroupCommit)


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
        return self._write(commit, build_commit.commit)

    def build_group(self, commit: BuildGroupCommit) -> int:
        """Swap segments in many partitions; returns the manifest version of the last. Errors as `land`."""
        return self._write(commit, build_group_commit.commit)

    def tell_built(self, dataset_id: int, builds: Sequence[tuple[BuildCommit, PartitionState, int]]) -> None:
        """Queue for Dagster what builds did whose commits queued nothing, with the states and versions that they left."""

        def work(connection: Connection, now: int) -> None:
            dataset = datasets.row(connection, dataset_id)
            told = [build_commit.payload(build, dataset, state, version=version) for build, state, version in builds]
            outbox.queue_each(connection, dataset_id, "partition_built", told, now=now)

        self._database.timed(work)

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
