"""What a warehouse shows of its datasets: partitions, counters, lag, backlog, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from timestore_assets.catalog.records import PartitionRecord, SourceRecord
    from timestore_assets.model.dataset import Dataset
    from timestore_assets.warehouse import Warehouse

THROUGHPUT_SECONDS = 60.0
STATUS_SECONDS = 1.0
"""How long `status` waits for brokers."""


def partition_rows(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    """The dataset's partitions in the shape of `timestore partitions --json`."""
    _, record = warehouse.resolve(name)
    return [_partition_row(partition) for partition in warehouse.catalog.partitions(record.id)]


def status(warehouse: Warehouse, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Datasets (default: all) in the shape of `timestore status --json`."""
    chosen = sorted(warehouse.datasets) if names is None else names
    return {"datasets": [dataset_status(warehouse, name) for name in chosen]}


def dataset_status(warehouse: Warehouse, name: str, *, lags: Mapping[str, int | None] | None = None) -> dict[str, Any]:
    """One dataset in the shape it has in `status`. `lags`: by address of its topic sources, if known; else brokers are asked."""
    dataset, record = warehouse.resolve(name)
    catalog = warehouse.catalog
    partitions = catalog.partitions(record.id)
    lags = _lags(warehouse, dataset) if lags is None else lags
    rates = catalog.throughput(record.id, seconds=THROUGHPUT_SECONDS)
    return {
        "dataset": name,
        "manifest_version": catalog.manifest_version(record.id),
        "rows": sum(partition.rows for partition in partitions),
        "bytes": sum(partition.bytes for partition in partitions),
        "partitions": len(partitions),
        "unbuilt_rows": sum(partition.unbuilt_rows for partition in partitions),
        "pending_files": catalog.pending_files(record.id),
        "sources": [_source_status(source, rates, lags) for source in catalog.sources(record.id)],
    }


def _lags(warehouse: Warehouse, dataset: Dataset) -> dict[str, int | None]:
    """Lag by address of the dataset's topic sources, as far as their brokers answer at once."""
    lags: dict[str, int | None] = {}
    for source in dataset.kafka_sources:
        with suppress(TimestoreError):
            lags[source.address] = warehouse.lag(dataset.name, source, timeout_seconds=STATUS_SECONDS).lag
    return lags


def _partition_row(found: PartitionRecord) -> dict[str, Any]:
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
        "min_time": format_time(found.min_time) if found.min_time else None,
        "max_time": format_time(found.max_time) if found.max_time else None,
        "manifest_version": found.manifest_version,
    }


def _source_status(source: SourceRecord, rates: Mapping[int, float], lags: Mapping[str, int | None]) -> dict[str, Any]:
    counters = source.counters
    return {
        "source": f"{source.kind}:{source.address}",
        "read": counters.read,
        "landed": counters.landed,
        "duplicates": counters.duplicates,
        "late_dropped": counters.late_dropped,
        "held": counters.held,
        "dead_letters": counters.dead_letters,
        "lag": lags.get(source.address) if source.kind == "kafka" else None,
        "rows_per_second": round(rates.get(source.id, 0.0), 1),
        "paused": bool(source.paused),
        "paused_reason": source.paused or None,
        "watermark": format_time(source.watermark) if source.watermark else None,
    }
