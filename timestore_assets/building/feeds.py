"""What a dataset's sources still have to deliver, as far as the catalog knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Feeds:
    """`pending_files`: discovered and not settled. `watermarks`: one for each topic source that was ever read, None while it is
    unknown. `delivering`: a topic partition has had something to read until a short while ago (its source's `idle`).
    """

    pending_files: int = 0
    watermarks: tuple[datetime | None, ...] = ()
    delivering: bool = False

    @property
    def watermark(self) -> datetime | None:
        """The time before which no topic delivers any more; None when there are none, or one doesn't say."""
        known = [time for time in self.watermarks if time is not None]
        return min(known) if known and len(known) == len(self.watermarks) else None


def feeds_of(catalog: Catalog, dataset_id: int, dataset: Dataset) -> Feeds:
    """Ask the catalog about every source of a dataset."""
    watermarks: list[datetime | None] = []
    delivering = False
    for source in dataset.kafka_sources:
        record = catalog.source(dataset_id, source.kind, source.address)
        partitions = catalog.topic_partitions(record.id)
        if partitions:
            watermarks.append(record.watermark)
            delivering = delivering or any(one.quiet < source.idle for one in _of_newest_cluster(partitions))
    return Feeds(pending_files=catalog.pending_files(dataset_id), watermarks=tuple(watermarks), delivering=delivering)


def _of_newest_cluster(partitions: list[TopicPartition]) -> list[TopicPartition]:
    """A cluster that was left behind delivers nothing any more."""
    newest = max(partitions, key=lambda one: one.id).cluster_id
    return [one for one in partitions if one.cluster_id == newest]
