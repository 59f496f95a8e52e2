"""Removing files that nothing needs any more, and what the catalog remembers of the past with the files that go with it.

The catalog forgets first, then the file goes. Killed in between, a file is left that the catalog still knows to be on its way
out, and the next collection removes it; the reverse order could delete a file that is about to be committed. Files that the
catalog does not know are removed when they are leftovers, and left alone when another catalog may need them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Self

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.segment import ObjectName
from timestore_assets.ownership.marks import Contents, contents_of, still_there
from timestore_assets.ownership.target_claim import claim_for_collection
from timestore_assets.storage.object_store import StoredObject
from timestore_assets.storage.targets import Storage

if TYPE_CHECKING:
    from timestore_assets.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerAges:
    """How long what is remembered.

    `audit`: that batches landed and partitions were built. `ingestions`: answers to HTTP requests. `settled`: ended sessions,
    replayed dead letters, accepted losses, events nobody fetched. `keys`: idempotency keys; None for ever.
    """

    audit: timedelta = timedelta(days=90)
    ingestions: timedelta = timedelta(days=7)
    settled: timedelta = timedelta(days=30)
    keys: timedelta | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(
            audit=timedelta(seconds=settings.audit_keep_seconds),
            ingestions=timedelta(seconds=settings.ingest_keep_seconds),
            settled=timedelta(seconds=settings.ledger_keep_seconds),
            keys=None if settings.key_keep_seconds is None else timedelta(seconds=settings.key_keep_seconds),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrimReport:
    """Rows of the catalog that went, by what they told of; `settled_dead_letters` with their objects."""

    audit_rows: int = 0
    ingestions: int = 0
    idempotency_keys: int = 0
    settled_dead_letters: int = 0
    sessions: int = 0
    session_partitions: int = 0
    unfetched_events: int = 0
    accepted_losses: int = 0
    alert_messages: int = 0
    finished_retractions: int = 0
    dropped_dataset_rows: int = 0
    throughput_rows: int = 0


def trim(catalog: Catalog, storage: Storage, ages: LedgerAges) -> TrimReport:
    """Forget what is older; in short transactions, so safe beside anything.

    Raises:
        UnavailableError: the store or the catalog can't be reached.
    """
    trimming, settled = catalog.trimming, ages.settled
    ingestions = catalog.ingestions.forget(older_than=ages.ingestions)
    keys = None if ages.keys is None else max(ages.keys, ages.ingestions)
    return TrimReport(
        audit_rows=trimming.audit(older_than=ages.audit),
        ingestions=ingestions,
        idempotency_keys=0 if keys is None else trimming.idempotency_keys(older_than=keys),
        settled_dead_letters=_dead_letters(catalog, storage, older_than=settled),
        sessions=trimming.sessions(older_than=settled),
        session_partitions=trimming.source_partitions(),
        unfetched_events=trimming.events(older_than=settled),
        alert_messages=trimming.alert_messages(older_than=settled),
        accepted_losses=trimming.lost_offsets(older_than=settled),
        finished_retractions=trimming.retractions(),
        throughput_rows=trimming.throughput(),
        dropped_dataset_rows=catalog.dropped.forget(),
    )


def _dead_letters(catalog: Catalog, storage: Storage, *, older_than: timedelta) -> int:
    total = 0
    while names := catalog.trimming.dead_letters(older_than=older_than):
        storage.delete(names)
        catalog.objects.deleted(names)
        total += len(names)
    return total


_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectReport:
    """Numbers of things removed.

    `unfinished_files`: announced by sessions that died before their commit. `superseded_segments`: replaced by builds,
    and needed by no version that is kept, reader or session. `dropped_objects`: segments and dead letters of dropped datasets.
    `orphaned_files`, `orphaned_bytes`: unknown to the catalog, or
    left by a collection that was killed.
    `staging_folders`: of processes that are gone. `trimmed`: what the catalog remembered for long enough.
    `withheld`: unknown files that were not removed, because another catalog may need them.
    """

    unfinished_files: int
    superseded_segments: int
    orphaned_files: int
    orphaned_bytes: int
    staging_folders: int
    trimmed: TrimReport = field(default_factory=TrimReport)
    withheld: tuple[Withheld, ...] = ()
    dropped_objects: int = 0


def collect(
    catalog: Catalog,
    storage: Storage,
    *,
    intent_grace: timedelta,
    keep_versions: timedelta,
    keep_versions_of: Mapping[int, timedelta] | None = None,
    keep: LedgerAges | None = None,
    all_orphans_of: Collection[str] = (),
) -> CollectReport:
    """Remove what nothing needs; safe at any time, beside anything, and to run again after a crash.

    `intent_grace`: age at which an unfinished or unknown file counts as abandoned. `keep_versions`: how long superseded
    segments stay for `--as-of` and rollback; `keep_versions_of`: of some datasets, by their id. `keep`: how long the catalog
    remembers the rest. `all_orphans_of`: storage targets whose unknown files go even if there are so many, or so young, that
    another catalog may need them.

    Raises:
        OwnershipError: a storage target is not this catalog's; nothing was removed.
        InputError: no such target. UnavailableError: the store or the catalog can't be reached.
    """
    now = datetime.now(UTC)
    for target in (*storage.names, *all_orphans_of):
        claim_for_collection(catalog, storage, target)
    left_files, left_bytes = _left_over(catalog, storage)
    unfinished = catalog.objects.collect_intents(older_than=intent_grace)
    _delete(catalog, storage, unfinished)
    dropped = _dropped(catalog, storage)
    own = {dataset_id: now - kept for dataset_id, kept in (keep_versions_of or {}).items()}
    superseded = collect_superseded(catalog, storage, before=now - keep_versions, of_datasets=own)
    found = [
        collect_orphans(catalog, storage, target, before=now - intent_grace, everything=target in all_orphans_of)
        for target in storage.names
    ]
    return CollectReport(
        unfinished_files=len(unfinished),
        superseded_segments=superseded,
        orphaned_files=left_files + sum(one.files for one in found),
        orphaned_bytes=left_bytes + sum(one.bytes for one in found),
        staging_folders=storage.sweep_staging(intent_grace.total_seconds()),
        trimmed=trim(catalog, storage, keep or LedgerAges()),
        withheld=tuple(one.withheld for one in found if one.withheld is not None),
        dropped_objects=dropped,
    )


def _left_over(catalog: Catalog, storage: Storage) -> tuple[int, int]:
    """Remove what a collection that was killed had begun to; returns files and bytes."""
    left = [one for one in catalog.objects.collected() if one.storage in storage.names]
    sizes = [size for one in left if (size := storage.target(one.storage).size(one.name)) is not None]
    _delete(catalog, storage, left)
    return len(sizes), sum(sizes)


def _delete(catalog: Catalog, storage: Storage, objects: Sequence[ObjectName]) -> None:
    storage.delete(objects)
    catalog.objects.deleted(objects)


def _dropped(catalog: Catalog, storage: Storage) -> int:
    total = 0
    while names := catalog.dropped.collect_objects(limit=_AT_ONCE):
        _delete(catalog, storage, names)
        total += len(names)
    return total


def collect_superseded(
    catalog: Catalog, storage: Storage, *, before: datetime, of_datasets: Mapping[int, datetime] | None = None
) -> int:
    """Remove the files of segments that were superseded before; of what was erased whenever it was. Returns how many."""
    total = 0
    while names := catalog.objects.collect_segments(superseded_before=before, of_datasets=of_datasets, limit=_AT_ONCE):
        _delete(catalog, storage, names)
        total += len(names)
    return total


WithheldReason = Literal["more_than_known", "younger"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Withheld:
    """Unknown files of a target that stay.

    `more_than_known`: there are more of them, by number or bytes, than of those that the catalog knows, so it may be the wrong
    catalog. `younger`: they were written after all that the catalog knows of, or before an older catalog adopted the target.
    """

    target: str
    reason: WithheldReason
    files: int
    bytes: int
    known_files: int
    known_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OrphanReport:
    """What was removed, and what was not."""

    files: int = 0
    bytes: int = 0
    withheld: Withheld | None = None


def collect_orphans(
    catalog: Catalog, storage: Storage, target: str, *, before: datetime, everything: bool = False
) -> OrphanReport:
    """Remove a target's files that the catalog does not know and that are older than `before`.

    `everything`: those of which another catalog may need some, too.
    """
    store = storage.target(target)
    found = contents_of(catalog, store, target, before=before)
    if not found.orphans:
        return OrphanReport()
    younger = frozenset() if everything else _younger(catalog, target, found)
    rest = tuple(one for one in found.orphans if one not in younger)
    doubtful = Contents(known=found.known, known_bytes=found.known_bytes, orphans=rest)
    if not everything and doubtful.is_mostly_foreign and still_there(store, doubtful).is_mostly_foreign:
        return OrphanReport(withheld=_withheld(target, "more_than_known", found, found.orphans))
    store.delete(one.name for one in rest)
    return OrphanReport(
        files=len(rest),
        bytes=sum(one.bytes for one in rest),
        withheld=_withheld(target, "younger", found, younger) if younger else None,
    )


def _younger(catalog: Catalog, target: str, found: Contents) -> frozenset[StoredObject]:
    """Orphans that the manifest of a younger catalog may name."""
    kept_until = catalog.identity.claimed(target).kept_until
    newest = catalog.identity.newest()
    return frozenset(
        one
        for one in found.orphans
        if (kept_until is not None and one.modified <= kept_until) or (newest is not None and one.modified > newest)
    )


def _withheld(target: str, reason: WithheldReason, found: Contents, orphans: Collection[StoredObject]) -> Withheld:
    return Withheld(
        target=target,
        reason=reason,
        files=len(orphans),
        bytes=sum(one.bytes for one in orphans),
        known_files=found.known,
        known_bytes=found.known_bytes,
    )
