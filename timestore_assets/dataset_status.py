"""How datasets stand: what is stored, what waits, and what became of each source's records.

Values of the catalog's, and the one form of them in plain JSON that `timestore … --json` prints and the service answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from timestore_assets.model.late_words import at_least_seconds, below_seconds
from timestore_assets.model.window import Window, format_time

if TYPE_CHECKING:
    from timestore_assets.catalog.catalog import Catalog
    from timestore_assets.catalog.late_records import LateCount
    from timestore_assets.catalog.records import DatasetRecord, PartitionRecord, PartitionState, SourceRecord
    from timestore_assets.landing.dead_letters.held_batches import HeldBatch

THROUGHPUT_SECONDS = 60.0
"""How far back the rate of landing looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionTotals:
    """What a dataset's partitions hold together."""

    partitions: int
    states: Mapping[PartitionState, int]
    """Number of partitions by state, in the order of the alphabet."""
    rows: int
    """Of live segments; before deduplication of those that are not built."""
    bytes: int
    segments: int
    deltas: int
    """Segments that are not built yet; of them are the next two."""
    unbuilt_rows: int
    unbuilt_bytes: int
    newest: datetime | None
    """Newest time of a row."""

    @classmethod
    def of(cls, partitions: Sequence[PartitionRecord]) -> Self:
        return cls(
            partitions=len(partitions),
            states=dict(sorted(Counter(one.state for one in partitions).items())),
            rows=sum(one.rows for one in partitions),
            bytes=sum(one.bytes for one in partitions),
            segments=sum(one.segments for one in partitions),
            deltas=sum(one.deltas for one in partitions),
            unbuilt_rows=sum(one.unbuilt_rows for one in partitions),
            unbuilt_bytes=sum(one.unbuilt_bytes for one in partitions),
            newest=max((one.max_time for one in partitions if one.max_time), default=None),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceStats:
    """A source, as the catalog has it, and how far it has come."""

    record: SourceRecord
    rows_per_second: float
    """Landed over the last minute."""
    lag: int | None = None
    """Records of its topics not read yet; None for other sources and when no broker answers."""

    @property
    def rows_last_minute(self) -> int:
        return round(self.rows_per_second * THROUGHPUT_SECONDS)

    @property
    def name(self) -> str:
        return source_name(self.record.kind, self.record.address)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetStats:
    """One dataset; as it is made here, of one that nobody has used yet."""

    dataset: str
    manifest_version: int = 0
    partitions: Sequence[PartitionRecord] = ()
    """In order of time."""
    pending_files: int = 0
    """Files discovered and not settled."""
    sources: Sequence[SourceStats] = ()
    is_retired: bool = False
    """Nothing lands in it any more."""
    is_behind: bool = False
    """Its declaration is of before the columns that the catalog has."""
    problem: str = ""
    """Why its declaration is refused, a sentence; nothing lands and nothing is built meanwhile."""

    @property
    def notice(self) -> str:
        """What a person ought to know of its declaration, empty when there is nothing."""
        return self.problem.removesuffix(".") or (behind_notice(self.dataset) if self.is_behind else "")

    @property
    def totals(self) -> PartitionTotals:
        return PartitionTotals.of(self.partitions)


def behind_notice(dataset: str, path: Path | None = None) -> str:
    """Of a dataset whose declaration is behind. `path`: of its file."""
    what = f"the declaration of dataset {dataset!r}" + (f" in {path}" if path is not None else "")
    return (
        f"{what} is of before the columns of today, by which it is served; `timestore schema declaration {dataset}` prints what "
        "to write there"
    )


def source_name(kind: str, address: str) -> str:
    """What every face calls a source."""
    return f"{kind}:{address}"


def stats_of(
    catalog: Catalog,
    record: DatasetRecord,
    *,
    lags: Mapping[str, int | None],
    is_behind: bool = False,
    problem: str = "",
) -> DatasetStats:
    """What the catalog knows of a dataset. `lags`: by address of its topic sources, as far as their brokers have said."""
    rates = catalog.sources.throughput(record.id, seconds=THROUGHPUT_SECONDS)
    return DatasetStats(
        dataset=record.name,
        manifest_version=record.manifest_version,
        is_retired=record.is_retired,
        is_behind=is_behind,
        problem=problem,
        partitions=catalog.partitions.of(record.id),
        pending_files=catalog.files.pending(record.id),
        sources=[
            SourceStats(
                record=source,
                rows_per_second=rates.get(source.id, 0.0),
                lag=lags.get(source.address) if source.reads_topics else None,
            )
            for source in catalog.sources.of(record.id)
        ],
    )


def stats_to_plain(stats: DatasetStats) -> dict[str, Any]:
    """A dataset in the shape it has in `timestore status --json`."""
    totals = stats.totals
    return {
        "dataset": stats.dataset,
        "retired": stats.is_retired,
        "behind": stats.is_behind,
        "problem": stats.problem or None,
        "manifest_version": stats.manifest_version,
        "rows": totals.rows,
        "bytes": totals.bytes,
        "partitions": totals.partitions,
        "unbuilt_rows": totals.unbuilt_rows,
        "pending_files": stats.pending_files,
        "sources": [_source_to_plain(source) for source in stats.sources],
    }


def partitions_to_plain(partitions: Iterable[PartitionRecord]) -> list[dict[str, Any]]:
    """Partitions in the shape of `timestore partitions --json`."""
    return [_partition_to_plain(partition) for partition in partitions]


def _source_to_plain(source: SourceStats) -> dict[str, Any]:
    record = source.record
    return {
        "source": source.name,
        **dict(record.counters.items()),
        "lag": source.lag,
        "rows_last_minute": source.rows_last_minute,
        "rows_per_second": round(source.rows_per_second, 3),
        "paused": bool(record.paused),
        "paused_reason": record.paused or None,
        "watermark": _text(record.watermark),
    }


def _partition_to_plain(found: PartitionRecord) -> dict[str, Any]:
    return {
        "partition": found.partition.key,
        "start": format_time(found.partition.start),
        "end": format_time(found.partition.end),
        "state": found.state,
        "rows": found.rows,
        "bytes": found.bytes,
        "segments": found.segments,
        "deltas": found.deltas,
        "schema_version": found.schema_version,
        "superseded_rows": found.superseded_rows,
        "content_hash": found.content_hash,
        "min_time": _text(found.min_time),
        "max_time": _text(found.max_time),
        "manifest_version": found.manifest_version,
    }


def late_to_plain(ledger: Iterable[LateCount]) -> list[dict[str, Any]]:
    """The ledger of late data in the shape of `timestore late --json`."""
    return [
        {
            "partition": one.partition.key,
            "source": one.source,
            "disposition": one.disposition,
            "at_least_seconds": at_least_seconds(one.lateness),
            "below_seconds": below_seconds(one.lateness),
            "rows": one.rows,
            "first_at": format_time(one.first_at),
            "last_at": format_time(one.last_at),
        }
        for one in ledger
    ]


def held_to_plain(batch: HeldBatch, window: Window) -> dict[str, Any]:
    """A batch of held records in the shape of `timestore late review --json`, with the texts of its first records."""
    return {
        "batch": batch.id,
        "source": batch.source,
        "records": batch.records,
        "held_at": format_time(batch.held_at),
        "partitions": [
            {
                "partition": window.key_of(one.start),
                "rows": one.rows,
                "at_least_seconds": at_least_seconds(one.lateness),
                "below_seconds": below_seconds(one.lateness),
            }
            for one in batch.partitions
        ],
        "samples": [(letter.raw or b"").decode("utf-8", errors="replace") for letter in batch.samples],
    }


def _text(time: datetime | None) -> str | None:
    return format_time(time) if time else None
