"""Making staged files part of the warehouse: announced, promoted, committed, and settled when the outcome is in doubt.

Batches, wide commits, replays and builds all end here, and all work with one context. Whatever happens in between, an object that
is not committed belongs to a session that has announced it, so that the collector finds it once the session is over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import BuildCommit, BuildGroupCommit, LandingCommit
from timestore_assets.catalog.lease_keeper import TTL, Expiring
from timestore_assets.catalog.older_processes import KNOWS_SHARED
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.errors import CatalogReplacedError, ConflictError, UnavailableError, UnknownOutcomeError
from timestore_assets.ownership.target_claim import claim
from timestore_assets.retry import OUTAGE, RetryPolicy
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.targets import Storage
from timestore_assets.tracing import span


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteContext:
    """Given to whoever lands, replays or builds; each adds what it alone needs."""

    catalog: Catalog
    storage: Storage
    limits: EngineLimits
    """Memory and cores, which are divided among threads where several work."""
    holder: str
    """Who does it: names the process in sessions and leases."""
    ttl: timedelta = TTL
    """How long sessions and leases of ours outlive us."""
    clock: Callable[[], datetime] = utc_now
    """What time it is (aware), for bounds, records and ends of partitions."""
    retry: RetryPolicy = OUTAGE
    """How long faults that pass by themselves are waited for."""

    def may_share(self) -> bool:
        """Whether small segments may share an object: no process at work takes all rows of an object for a segment's."""
        return not self.catalog.sessions.older_at_work(before=KNOWS_SHARED)


Commit = LandingCommit | BuildCommit | BuildGroupCommit
_NAMES_TRACED = 20


@contextmanager
def staging_folder(context: WriteContext, dataset: DatasetRecord, label: str) -> Iterator[Path]:
    """A folder for files on their way into the dataset's storage target, which goes with the block."""
    folder = context.storage.target(dataset.storage).staging(label)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    context: WriteContext,
    dataset: DatasetRecord,
    commit: Commit,
    uploads: Sequence[Upload],
    *,
    lease: Expiring | None = None,
) -> int:
    """Make the objects in the dataset's storage target and commit them; returns the manifest version that has them.

    Args:
        commit: its objects are those of the uploads, in their order; the digests of a landing are put into it here.
        lease: what the work was done under; it is looked at once more before the commit.

    Raises:
        ConflictError: others came first, or the commit did not happen; nothing of it is visible, and it may be made anew.
        LeaseLostError: likewise, and it is somebody else's to make.
        OwnershipError: the target is not this catalog's. StorageFullError, UnavailableError: nothing of it is visible.
        UnknownOutcomeError: as `commit`.
    """
    with span("promote", objects=", ".join(commit.objects[:_NAMES_TRACED])):
        digests = _promote(context, dataset, commit, uploads)
    if isinstance(commit, LandingCommit):
        commit = commit.with_digests(digests)
    if lease is not None:
        lease.check()
    return commit_exactly_once(context, dataset, commit)


def commit_exactly_once(context: WriteContext, dataset: DatasetRecord, commit: Commit) -> int:
    """Commit what needs no objects any more; returns the manifest version after it.

    When the connection broke around COMMIT and the catalog stayed away too long for its own second look, the commit's token
    is sought until it is back: it is written with the commit, by this attempt alone.

    Raises:
        ConflictError: others came first, or it did not happen. UnavailableError: likewise, the catalog is away.
        UnknownOutcomeError: the catalog stayed away, so that it may or may not have happened.
    """
    catalog = context.catalog
    with span("catalog commit", dataset=dataset.name):
        try:
            return _committed(catalog, commit)
        except UnknownOutcomeError as unknown:
            version = _settled(context, commit.token, unknown)
    if version is None:
        raise ConflictError("the commit did not happen")
    return version


def _committed(catalog: Catalog, commit: Commit) -> int:
    match commit:
        case LandingCommit():
            return catalog.commits.land(commit)
        case BuildCommit():
            return catalog.commits.build(commit)
        case BuildGroupCommit():
            return catalog.commits.build_group(commit)


def _settled(context: WriteContext, token: str, unknown: UnknownOutcomeError) -> int | None:
    try:
        return context.retry.run(lambda: context.catalog.commits.committed(token))
    except CatalogReplacedError:
        raise  # whatever happened counts for nothing
    except UnavailableError:
        raise unknown from None


def _promote(context: WriteContext, dataset: DatasetRecord, commit: Commit, uploads: Sequence[Upload]) -> list[str]:
    """Make the objects; returns their digests in their order."""
    if not uploads:
        return []
    claim(context.catalog, context.storage, dataset.storage)
    context.catalog.sessions.announce(commit.session_id, commit.objects, storage=dataset.storage)
    return context.storage.target(dataset.storage).promote(uploads)
