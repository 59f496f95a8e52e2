"""Trimming what the catalog remembers of the past; the files that go with it go after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from timestore_assets.catalog.port import Catalog
from timestore_assets.storage.targets import Storage


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
    finished_retractions: int = 0
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
        accepted_losses=trimming.lost_offsets(older_than=settled),
        finished_retractions=trimming.retractions(),
        throughput_rows=trimming.throughput(),
    )


def _dead_letters(catalog: Catalog, storage: Storage, *, older_than: timedelta) -> int:
    total = 0
    while names := catalog.trimming.dead_letters(older_than=older_than):
        storage.delete(names)
        total += len(names)
    return total
