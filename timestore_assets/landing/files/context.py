"""What stays the same during one call that lands files: what it was called with, its share of the list, and its limits.

Several runs may have the same list of files; each takes what is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Self, TypeVar

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import HeldLease
from timestore_assets.catalog.records import FileRecord, SourceRecord
from timestore_assets.landing.files.land_report import CombinedProgress
from timestore_assets.model.dataset import Dataset, FileFormat, FileSource
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.sources.files.input_file import FileIdentity

if TYPE_CHECKING:  # what a session works with is heavy, and Dagster's definitions need only `Share`
    from timestore_assets.landing.landing_session import WorkingSession
    from timestore_assets.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One of `of` runs over the same list; `index` counts from 0.

    Who lands what is decided by leases alone, so a run that dies, or never starts, leaves its part to the others.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError(f"share {self.index} of {self.of}")

    @property
    def is_alone(self) -> bool:
        return self.of == 1

    def ordered(self, items: Sequence[T]) -> list[T]:
        """The items from another beginning than the other runs', so that they seldom meet."""
        first = len(items) * self.index // self.of
        return [*items[first:], *items[:first]]


ALONE = Share(index=0, of=1)


TYPED_BATCH_BYTES = 96_000_000
"""Arrow data of a batch of a typed file. Two batches are in memory and one of them twice, once rearranged: with 96 MB the peak
is 0.9 GB, with 192 MB 1.4 GB at no gain in speed (20 M rows of 47 bytes over 168 partitions)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkLimits:
    """How much of a large drop is worked on at a time."""

    chunk_bytes: int = 2_000_000_000
    """Stored bytes from which on a file is landed as parts of about that size."""
    commit_bytes: int = 1_000_000_000
    """Arrow data of a large file that one commit gathers."""
    parallel: int = 2
    """Files, or parts of files, at a time."""
    batch_bytes: int = TYPED_BATCH_BYTES
    """What is judged at once, at most."""
    batch_rows: int | None = None
    """Likewise; as many as fit when None."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(
            chunk_bytes=settings.bulk_chunk_bytes, commit_bytes=settings.bulk_commit_bytes, parallel=settings.bulk_parallel
        )


def arrival_decides(dataset: Dataset) -> bool:
    """Whether which rows stay depends on the order of their arrival, so that they have to be landed one after the other."""
    return dataset.dedupe is not None and dataset.dedupe.by is None


@dataclass(frozen=True, kw_only=True, slots=True)
class LandingCall:
    """What one call of `Lander.land_files` adds to the lander's context."""

    context: WriteContext
    dataset: Dataset
    source: FileSource
    record: SourceRecord
    session: WorkingSession
    format: FileFormat | None
    chunk_rows: int | None
    bulk: BulkLimits
    share: Share | None
    """This call's part of a list that other runs have too; None when it is not shared."""
    progress: CombinedProgress
    actor: str

    @property
    def catalog(self) -> Catalog:
        return self.context.catalog

    def observe(self, address: str, identity: FileIdentity) -> FileRecord:
        """Have the catalog decide what a content at an address is."""
        replaces = self.source.on_change == "replace"
        seen = {"address": address, "sha256": identity.sha256, "etag": identity.etag}
        work = partial(self.catalog.files.observe, self.record.id, **seen, size=identity.size, replace=replaces)
        return self.context.retry.run(work)

    def quarantine(self, file: FileRecord, reason: str) -> None:
        self.context.retry.run(lambda: self.catalog.files.settle(file.id, "quarantined", reason=reason))

    def hold(self, source_partition_id: int | None) -> HeldLease | None:
        """Hold what is landed under this checkpoint until the lease is released; None when somebody else does."""
        # two sessions of a process, and two threads of a session, have the same holder
        holder = f"{self.context.holder}#{self.session.id}-{token_hex(4)}"
        resource = f"source_partition:{source_partition_id}"
        return self.context.retry.run(lambda: self.session.keeper.hold(resource, holder=holder, ttl=self.context.ttl))

    def may_cut(self, file: FileRecord) -> bool:
        """Whether a file may be cut into parts: not one whose rows have to appear, or leave, all at once or in order."""
        begun = file.position.offset > 0
        replacing = file.replaces or self.source.on_change == "replace"
        in_order = self.dataset.is_strict or arrival_decides(self.dataset)
        return not begun and not replacing and not in_order
