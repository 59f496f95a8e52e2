"""How far a dataset is complete, by what the catalog knows of the topics that feed it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import SourceRecord, TopicPartition


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCompleteness:
    """One partition of a topic. `position`: offset up to which it has landed. `newest`: newest event time landed from it.

    `watermark`: of its source: no more records are expected before it; None while that is unknown.
    """

    source: str
    source_partition: str
    position: int
    newest: datetime | None
    watermark: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """`complete_through`: nothing more is expected before it, from any topic; None while that is unknown for one of them, and for
    a dataset without topics, because nobody says when a file or a request is the last.
    """

    complete_through: datetime | None = None
    sources: tuple[SourceCompleteness, ...] = ()


UNKNOWN = Completeness()


def completeness(catalog: Catalog, dataset_id: int) -> Completeness:
    """How far the dataset is complete now; a manifest version that is pinned afterwards holds at least as much."""
    topics = [source for source in catalog.sources(dataset_id) if source.kind == "kafka"]
    watermarks = [source.watermark for source in topics if source.watermark is not None]
    known = bool(topics) and len(watermarks) == len(topics)
    return Completeness(
        complete_through=min(watermarks) if known else None,
        sources=tuple(_partition(source, one) for source in topics for one in catalog.topic_partitions(source.id)),
    )


def _partition(source: SourceRecord, found: TopicPartition) -> SourceCompleteness:
    return SourceCompleteness(
        source=f"kafka:{source.address}",
        source_partition=f"{found.topic}/{found.number}",
        position=found.position,
        newest=found.newest,
        watermark=source.watermark,
    )
