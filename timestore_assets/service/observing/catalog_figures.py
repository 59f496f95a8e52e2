"""Figures that the catalog knows: the row accounting, partitions, backlog. Read in one pass, and once a second at most."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from timestore_assets.building.feeds import feeds_of
from timestore_assets.building.needs import needed
from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timestore_assets.catalog.records import DatasetRecord, PartitionRecord, PartitionState, SourceRecord
    from timestore_assets.warehouse import Warehouse

EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
THROUGHPUT_SECONDS = 60.0
STATES: tuple[PartitionState, ...] = ("open", "sealed", "stale", "expired")
DEAD_LETTER_KINDS = ("refused", "late_dropped", "held")
_DISPOSITIONS = ("landed", "duplicates", "late_dropped", "held", "dead_letters")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFigures:
    """One dataset as the catalog has it. `rates`: landed rows a second by source id. `dead_letters`: rows by kind."""

    record: DatasetRecord
    sources: Sequence[SourceRecord]
    partitions: Sequence[PartitionRecord]
    builds: int
    pending_files: int
    rates: Mapping[int, float]
    dead_letters: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What a pass found. `up`: the catalog answered."""

    up: bool
    seconds: float
    datasets: tuple[DatasetFigures, ...] = field(default=())


class CatalogFigures(Collector):
    """Shows what the catalog of a warehouse says about its datasets."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._looking = Looking(self._read, every=EVERY_SECONDS, patience=PATIENCE_SECONDS, name="catalog figures")

    def describe(self) -> Iterator[Metric]:
        """Nothing is read just because this is registered."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        found = self._looking.in_time() or _Read(up=False, seconds=PATIENCE_SECONDS)
        yield GaugeMetricFamily("timestore_catalog_up", "Whether the catalog answers.", value=found.up)
        yield GaugeMetricFamily("timestore_catalog_read_seconds", "Seconds to read these figures.", value=found.seconds)
        yield from self._of_replica()
        yield from _of_sources(found.datasets)
        yield from _of_datasets(found.datasets)

    def _of_replica(self) -> Iterator[Metric]:
        replica = self._warehouse.catalog.replica
        reads = CounterMetricFamily(
            "timestore_catalog_replica_reads", "Reads asked of a replica, by who did them.", labels=("by",)
        )
        reads.add_metric(("replica",), replica.answered if replica else 0)
        reads.add_metric(("primary",), replica.passed_on if replica else 0)
        yield reads

    def _read(self) -> _Read:
        began = time.monotonic()
        try:
            datasets = tuple(_figures(self._warehouse, record) for record in self._warehouse.catalog.datasets())
        except TimestoreError:
            return _Read(up=False, seconds=time.monotonic() - began)
        return _Read(up=True, seconds=time.monotonic() - began, datasets=datasets)


def _figures(warehouse: Warehouse, record: DatasetRecord) -> DatasetFigures:
    catalog = warehouse.catalog
    dead: Counter[str] = Counter()
    for _, letters, _ in catalog.dead_letter_files(record.id):
        dead[letters.kind] += letters.rows
    partitions = catalog.partitions(record.id)
    return DatasetFigures(
        record=record,
        sources=catalog.sources(record.id),
        partitions=partitions,
        builds=_builds(warehouse, record, partitions),
        pending_files=catalog.pending_files(record.id),
        rates=catalog.throughput(record.id, seconds=THROUGHPUT_SECONDS),
        dead_letters=dead,
    )


def _builds(warehouse: Warehouse, record: DatasetRecord, partitions: Sequence[PartitionRecord]) -> int:
    dataset = warehouse.datasets.get(record.name)
    if dataset is None:  # no longer declared
        return 0
    found = needed(
        partitions,
        dataset=dataset,
        requested=warehouse.catalog.requested_builds(record.id),
        feeds=feeds_of(warehouse.catalog, record.id, dataset),
        newest=max((one.max_time for one in partitions if one.max_time), default=None),
        now=datetime.now(UTC),
    )
    return len(found)


def source_name(kind: str, address: str) -> str:
    """A source as `timestore status` names it."""
    return f"{kind}:{address}"


def _of_sources(datasets: Sequence[DatasetFigures]) -> Iterator[Metric]:
    labels = ("dataset", "source")
    read = CounterMetricFamily("timestore_records_read", "Records read from a source.", labels=labels)
    records = GaugeMetricFamily(
        "timestore_records",
        "What became of the records read: over all dispositions they add up to those read. A replay moves some to landed.",
        labels=(*labels, "disposition"),
    )
    landed = CounterMetricFamily("timestore_records_landed", "Records that landed from a source.", labels=labels)
    rate = GaugeMetricFamily("timestore_landed_rows_per_second", "Rows landed a second over the last minute.", labels=labels)
    paused = GaugeMetricFamily("timestore_source_paused", "Whether landing from a source is paused.", labels=labels)
    age = GaugeMetricFamily("timestore_watermark_age_seconds", "Seconds from a source's watermark until now.", labels=labels)
    now = datetime.now(UTC)
    for one in datasets:
        for source in one.sources:
            where = (one.record.name, source_name(source.kind, source.address))
            read.add_metric(where, source.counters.read)
            landed.add_metric(where, source.counters.landed)
            for disposition in _DISPOSITIONS:
                records.add_metric((*where, disposition), getattr(source.counters, disposition))
            rate.add_metric(where, one.rates.get(source.id, 0.0))
            paused.add_metric(where, bool(source.paused))
            if source.watermark is not None:
                age.add_metric(where, (now - source.watermark).total_seconds())
    yield from (read, landed, records, rate, paused, age)


def _of_datasets(datasets: Sequence[DatasetFigures]) -> Iterator[Metric]:
    version = GaugeMetricFamily("timestore_manifest_version", "Version of a dataset's manifest.", labels=("dataset",))
    rows = GaugeMetricFamily("timestore_rows", "Rows stored, unbuilt duplicates included.", labels=("dataset",))
    size = GaugeMetricFamily("timestore_bytes", "Bytes of the live segments.", labels=("dataset",))
    states = GaugeMetricFamily("timestore_partitions", "Partitions by state.", labels=("dataset", "state"))
    deltas = GaugeMetricFamily("timestore_unbuilt_deltas", "Delta segments that no build has taken up.", labels=("dataset",))
    unbuilt_rows = GaugeMetricFamily("timestore_unbuilt_rows", "Their rows.", labels=("dataset",))
    unbuilt = GaugeMetricFamily("timestore_unbuilt_bytes", "Their bytes.", labels=("dataset",))
    builds = GaugeMetricFamily("timestore_builds_needed", "Partitions that should be built.", labels=("dataset",))
    files = GaugeMetricFamily("timestore_pending_files", "Files discovered and not settled.", labels=("dataset",))
    dead = GaugeMetricFamily("timestore_dead_letters", "Records kept that did not land, by kind.", labels=("dataset", "kind"))
    for one in datasets:
        name = (one.record.name,)
        version.add_metric(name, one.record.manifest_version)
        rows.add_metric(name, sum(found.rows for found in one.partitions))
        size.add_metric(name, sum(found.bytes for found in one.partitions))
        counts = Counter(found.state for found in one.partitions)
        for state in STATES:
            states.add_metric((*name, state), counts[state])
        deltas.add_metric(name, sum(found.deltas for found in one.partitions))
        unbuilt_rows.add_metric(name, sum(found.unbuilt_rows for found in one.partitions))
        unbuilt.add_metric(name, sum(found.unbuilt_bytes for found in one.partitions))
        builds.add_metric(name, one.builds)
        files.add_metric(name, one.pending_files)
        for kind in DEAD_LETTER_KINDS:
            dead.add_metric((*name, kind), one.dead_letters.get(kind, 0))
    yield from (version, rows, size, states, deltas, unbuilt_rows, unbuilt, builds, files, dead)
