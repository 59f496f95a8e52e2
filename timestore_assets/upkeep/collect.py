"""Removing files that nothing needs any more.

The catalog forgets first, then the file goes. Killed in between, a file is left that no catalog row knows, and the next
collection finds it as an orphan; the reverse order could delete a file that is about to be committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.storage.port import ObjectStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.ledgers import LedgerAges, TrimReport, trim

_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectReport:
    """Numbers of things removed.

    `unfinished_files`: announced by sessions that died before their commit. `superseded_segments`: replaced by builds,
    and needed by no version that is kept, reader or session. `orphaned_files`, `orphaned_bytes`: unknown to the catalog.
    `staging_folders`: of processes that are gone. `trimmed`: what the catalog remembered for long enough.
    """

    unfinished_files: int
    superseded_segments: int
    orphaned_files: int
    orphaned_bytes: int
    staging_folders: int
    trimmed: TrimReport = field(default_factory=TrimReport)


def collect(
    catalog: Catalog,
    storage: Storage,
    *,
    intent_grace: timedelta,
    keep_versions: timedelta,
    keep: LedgerAges | None = None,
) -> CollectReport:
    """Remove what nothing needs; safe at any time, beside anything, and to run again after a crash.

    `intent_grace`: age at which an unfinished or unknown file counts as abandoned. `keep_versions`: how long superseded
    segments stay for `--as-of` and rollback. `keep`: how long the catalog remembers the rest.

    Raises:
        UnavailableError: the store or the catalog can't be reached.
    """
    now = datetime.now(UTC)
    unfinished = catalog.expired_intents(older_than=intent_grace)
    storage.delete(unfinished)
    superseded = _superseded(catalog, storage, before=now - keep_versions)
    orphans, orphaned_bytes = _orphans(catalog, storage, before=now - intent_grace)
    return CollectReport(
        unfinished_files=len(unfinished),
        superseded_segments=superseded,
        orphaned_files=orphans,
        orphaned_bytes=orphaned_bytes,
        staging_folders=storage.sweep_staging(intent_grace.total_seconds()),
        trimmed=trim(catalog, storage, keep or LedgerAges()),
    )


def _superseded(catalog: Catalog, storage: Storage, *, before: datetime) -> int:
    total = 0
    while names := catalog.collect_segments(superseded_before=before, limit=_AT_ONCE):
        storage.delete(names)
        total += len(names)
    return total


def _orphans(catalog: Catalog, storage: Storage, *, before: datetime) -> tuple[int, int]:
    found = [_orphans_of(catalog, storage.target(name), name, before=before) for name in storage.names]
    return sum(files for files, _ in found), sum(size for _, size in found)


def _orphans_of(catalog: Catalog, store: ObjectStore, target: str, *, before: datetime) -> tuple[int, int]:
    # The listing comes first: a file in it was announced before it appeared, and the catalog knows it from then on
    # until it has been collected, so one that is unknown afterwards can never be committed
    old = [found for found in store.list() if found.modified < before]
    if not old:
        return 0, 0
    known = catalog.known_objects(target)
    orphans = [found for found in old if found.name not in known]
    store.delete(found.name for found in orphans)
    return len(orphans), sum(found.bytes for found in orphans)
