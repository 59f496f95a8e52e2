"""What is to be built, and building it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from timestore_assets.model.errors import ConflictError, TimestoreError
from timestore_assets.model.window import Partition
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.building.builder import BuildReport
    from timestore_assets.building.needs import Need
    from timestore_assets.catalog.records import PartitionRecord
    from timestore_assets.landing.topics.backpressure import Backlog

E = TypeVar("E", bound=TimestoreError)


class BuildingVerbs(Workplace):
    """Building, and what waits for it."""

    def partitions(self, name: str) -> Sequence[PartitionRecord]:
        """The dataset's partitions that ever held rows, in order of time."""
        _, record = self.resolve(name)
        return self.catalog.partitions.of(record.id)

    def needed_builds(self, name: str, *, now: datetime | None = None) -> list[Need]:
        """Partitions that should be built, with the reasons."""
        from timestore_assets.building.needs import needed, source_progress
        from timestore_assets.building.schema_rewrites import outdated_partitions

        dataset, record = self.resolve(name)
        partitions = self.catalog.partitions.of(record.id)
        return needed(
            partitions,
            dataset=dataset,
            requested=self.catalog.partitions.requested_builds(record.id),
            feeds=source_progress(self.catalog, record.id, dataset),
            newest=max((found.max_time for found in partitions if found.max_time), default=None),
            now=now or datetime.now(UTC),
            outdated=outdated_partitions(self.catalog, record),
        )

    def backlog(self, name: str) -> Backlog:
        """What waits behind landing in a dataset."""
        from timestore_assets.dataset_status import PartitionTotals
        from timestore_assets.landing.topics.backpressure import Backlog

        totals = PartitionTotals.of(self.partitions(name))
        return Backlog(deltas=totals.deltas, bytes=totals.unbuilt_bytes, builds=len(self.needed_builds(name)))

    def build(
        self, name: str, partitions: Sequence[Partition], *, close: bool, report: bool = True, actor: str = "command line"
    ) -> Iterator[BuildReport]:
        """Build partitions, small ones together, each committed before its report is given.

        `close`: seal them even if they are still open. `report`: queue a Dagster event for each.
        """
        from timestore_assets.building.builder import Builder

        dataset, record = self.resolve(name)
        with (
            Builder(self.writing) as builder,
            closing(builder.build_each(dataset, partitions, close=close, report=report, actor=actor)) as reports,
        ):
            for partition in partitions:
                try:
                    built = next(reports)
                except ConflictError:  # somebody else builds it
                    raise
                except Exception as error:
                    self.catalog.audit.failed(record.id, "build_failed", error, actor=actor, partition=partition.key)
                    raise
                yield built

    def build_each(
        self,
        name: str,
        partitions: Sequence[Partition],
        *,
        close: bool,
        apart: type[E] | tuple[type[E], ...],
        actor: str = "command line",
    ) -> Iterator[BuildReport | E]:
        """As `build`, with the error in place of the report of a partition that fails in one of these ways: others are built."""
        left = deque(partitions)
        while left:
            try:
                for report in self.build(name, tuple(left), close=close, actor=actor):
                    left.popleft()
                    yield report
            except apart as error:
                left.popleft()
                yield error
