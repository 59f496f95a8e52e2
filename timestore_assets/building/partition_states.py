"""What the catalog says about partitions that are to be built, and what follows from it: read for one, or for many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from timestore_assets.building.build_plan import BuildPlan, plan_build, plan_erasure
from timestore_assets.building.needs import SourceProgress, is_closed, source_progress
from timestore_assets.building.schema_rewrites import outdated_versions
from timestore_assets.catalog.effective_declaration import effective, renamed
from timestore_assets.catalog.records import DatasetRecord, PartitionRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.retraction import NOTHING, Retracted
from timestore_assets.model.segment import Segment
from timestore_assets.model.window import Partition
from timestore_assets.segments.publishing import WriteContext


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildState:
    """What the catalog says about a partition now, and what follows from it."""

    dataset: Dataset
    record: DatasetRecord
    partition: Partition
    known: PartitionRecord | None
    segments: tuple[Segment, ...]
    retracted: Retracted
    plan: BuildPlan
    erasing: str | None

    @property
    def resource(self) -> str:
        """What who builds the partition holds a lease on."""
        return f"build:{self.record.id}:{self.partition.key}"


class StateReader:
    """Reads states for one builder. By the context's clock a dataset's declared end has passed."""

    def __init__(self, context: WriteContext) -> None:
        self._context, self._catalog = context, context.catalog
        self._newest: dict[int, datetime] = {}

    def read(self, dataset: Dataset, partition: Partition, *, close: bool, erasing: str | None = None) -> BuildState:
        """The state of one partition.

        Args:
            close: it is to be sealed, even if more rows are expected. erasing: SQL condition of rows that are to be erased.

        Raises:
            InputError: the catalog knows no dataset of that name.
        """
        dataset, record = self._known(dataset)
        known = self._catalog.partitions.find(record.id, partition)
        segments: tuple[Segment, ...] = ()
        retracted = NOTHING
        if known is not None and known.state != "expired":
            segments = tuple(self._catalog.manifest.segments(record.id, partition=partition, with_stats=False))
            retracted = self._catalog.manifest.retracted(record.id) if known.retracted else retracted
        outdated = outdated_versions(self._catalog, record, among={one.schema_version for one in segments})
        return self._state(
            dataset, record, partition, known, segments, retracted, outdated=outdated, close=close, erasing=erasing
        )

    def read_each(self, dataset: Dataset, partitions: Sequence[Partition], *, close: bool) -> list[BuildState]:
        """The states of partitions, in their order; arguments and errors as `read`."""
        dataset, record = self._known(dataset)
        known = self._catalog.partitions.among(record.id, partitions)
        held = self._catalog.manifest.segments_of(record.id, partitions)
        retracted = self._catalog.manifest.retracted(record.id) if any(one.retracted for one in known.values()) else NOTHING
        versions = {one.schema_version for segments in held.values() for one in segments}
        outdated = outdated_versions(self._catalog, record, among=versions)
        feeds = None if close else source_progress(self._catalog, record.id, dataset)
        states = []
        for partition in partitions:
            found = known.get(partition.start)
            segments = tuple(held[partition.start]) if found is not None and found.state != "expired" else ()
            lost = retracted if found is not None and found.retracted else NOTHING
            states.append(
                self._state(dataset, record, partition, found, segments, lost, outdated=outdated, close=close, feeds=feeds)
            )
        return states

    def _known(self, dataset: Dataset) -> tuple[Dataset, DatasetRecord]:
        record = self._catalog.datasets.find(dataset.name)
        if record is None:
            raise InputError(f"dataset {dataset.name!r} is not in the catalog yet; land something in it first")
        return self._in_target(effective(dataset, record), record.storage), record

    def _state(
        self,
        dataset: Dataset,
        record: DatasetRecord,
        partition: Partition,
        known: PartitionRecord | None,
        segments: tuple[Segment, ...],
        retracted: Retracted,
        *,
        outdated: frozenset[int],
        close: bool,
        erasing: str | None = None,
        feeds: SourceProgress | None = None,
    ) -> BuildState:
        plan = BuildPlan()
        if known is not None and known.state != "expired":
            if erasing is not None:
                plan = plan_erasure(segments, closed=known.state != "open")
            else:
                plan = plan_build(
                    self._as_named_now(segments, record),
                    dataset=dataset,
                    closed=close or self._closed(dataset, record, partition, known, feeds),
                    sealed=known.state == "sealed",
                    retracted=retracted,
                    outdated=outdated,
                )
        return BuildState(
            dataset=dataset,
            record=record,
            partition=partition,
            known=known,
            segments=segments,
            retracted=retracted,
            plan=plan,
            erasing=erasing,
        )

    def _in_target(self, dataset: Dataset, target: str) -> Dataset:
        """With formats that suit the target: a `.duckdb` file comes out of a bucket as a whole, so `auto` means Parquet there."""
        is_remote = self._context.storage.target(target).path(dataset.name) is None
        if not is_remote or dataset.segments.format != "auto":
            return dataset
        return replace(dataset, segments=replace(dataset.segments, format="parquet"))

    def _as_named_now(self, segments: Sequence[Segment], record: DatasetRecord) -> Sequence[Segment]:
        """Segments that say by what they are sorted under the names that those columns have now."""
        if not record.schema.was_migrated:
            return segments
        return [
            replace(one, sorted_by=tuple(names.get(name, name) for name in one.sorted_by))
            for one in segments
            if (names := renamed(self._catalog.datasets.schema(record.id, one.schema_version), record.schema)) is not None
        ]

    def _closed(
        self, dataset: Dataset, record: DatasetRecord, partition: Partition, known: PartitionRecord, feeds: SourceProgress | None
    ) -> bool:
        rule = partial(is_closed, partition, known, dataset=dataset, now=self._context.clock())
        feeds = feeds or source_progress(self._catalog, record.id, dataset)
        if rule(feeds=feeds, newest=self._newest.get(record.id)):
            return True
        if feeds.pending_files or feeds.watermarks:
            return False
        # the newest time only grows, so the list of all partitions is read only when the last known one does not settle it
        times = [found.max_time for found in self._catalog.partitions.of(record.id) if found.max_time]
        if not times:
            return False
        self._newest[record.id] = max(times)
        return rule(feeds=feeds, newest=max(times))
