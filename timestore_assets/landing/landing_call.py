"""What stays the same during one call that lands files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import FileRecord, SourceRecord
from timestore_assets.landing.bulk_limits import BulkLimits
from timestore_assets.landing.bulk_progress import ToldProgress
from timestore_assets.landing.keep_alive import Heart
from timestore_assets.landing.patience import patiently
from timestore_assets.landing.sharing import Share
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.sources.files.input_file import FileIdentity
from timestore_assets.storage.targets import Storage


def utc_now() -> datetime:
    return datetime.now(UTC)


def arrival_decides(dataset: Dataset) -> bool:
    """Whether which rows stay depends on the order of their arrival, so that they have to be landed one after the other."""
    return dataset.dedupe is not None and dataset.dedupe.by is None


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingCall:
    """`share`: this call's part of a list that other runs have too; None when it is not shared. Others as in `Lander`."""

    catalog: Catalog
    storage: Storage
    clock: Callable[[], datetime]
    holder: str
    ttl: timedelta
    dataset: Dataset
    source: FileSource
    record: SourceRecord
    session_id: int
    heart: Heart
    format: FileFormat | None
    chunk_rows: int | None
    bulk: BulkLimits
    share: Share | None
    progress: ToldProgress
    actor: str

    def observe(self, address: str, identity: FileIdentity) -> FileRecord:
        """Have the catalog decide what a content at an address is."""
        replaces = self.source.on_change == "replace"
        seen = {"address": address, "sha256": identity.sha256, "etag": identity.etag}
        return patiently(lambda: self.catalog.observe_file(self.record.id, **seen, size=identity.size, replace=replaces))

    def quarantine(self, file: FileRecord, reason: str) -> None:
        patiently(lambda: self.catalog.settle_file(file.id, "quarantined", reason=reason))

    def holding(self, source_partition_id: int | None) -> AbstractContextManager[None] | None:
        """Hold what is landed under this checkpoint while the block runs; None when somebody else does."""
        # two sessions of a process, and two threads of a session, have the same holder
        holder = f"{self.holder}#{self.session_id}-{token_hex(4)}"
        resource = f"source_partition:{source_partition_id}"
        lease = patiently(lambda: self.catalog.acquire(resource, holder=holder, ttl=self.ttl))
        return None if lease is None else self.heart.holding(lease)

    def may_cut(self, file: FileRecord) -> bool:
        """Whether a file may be cut into parts: not one whose rows have to appear, or leave, all at once or in order."""
        begun = file.position.offset > 0
        replacing = file.replaces or self.source.on_change == "replace"
        return not begun and not replacing and not arrival_decides(self.dataset)
