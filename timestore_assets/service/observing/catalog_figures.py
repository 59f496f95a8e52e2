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

from timestore_assets.building.needs import needed, source_progress
from timestore_assets.building.schema_rewrites import outdated_partitions
from timestore_assets.dataset_status import stats_of
from timestore_assets.model.counters import DISPOSITIONS
from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.observing.background_poller import BackgroundPoller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from timestore_assets.catalog.records import DatasetRecord, PartitionState
    from timestore_assets.dataset_status import DatasetStats
    from timestore_assets.warehouse import Warehouse

EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
STATES: tuple[PartitionState, ...] = ("open", "sealed", "stale", "expired")
DEAD_LETTER_KINDS = ("refused", "late_dropped", "held")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFigures:
    """One dataset as the catalog has it."""

    stats: DatasetStats
    is_retired: bool
    builds: int
    """Partitions that should be built."""
    dead_letters: Mapping[str, int]
    """Rows by kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What a pass found."""

    up: bool
    """The catalog answered."""
    seconds: float
    datasets: tuple[DatasetFigures, ...] = field(default=())


class CatalogFigures(Collector):
    """Shows what the catalog of a warehouse says about its datasets."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._looking = BackgroundPoller(self._read, every=EVERY_SECONDS, patience=PATIENCE_SECONDS, name="catalog figures")

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
            datasets = tuple(_figures(self._warehouse, record) for record in self._warehouse.catalog.datasets.all())
        except TimestoreError:
            return _Read(up=False, seconds=time.monotonic() - began)
        return _Read(up=True, seconds=time.monotonic() - began, datasets=datasets)


def _figures(warehouse: Warehouse, record: DatasetRecord) -> DatasetFigures:
    catalog = warehouse.catalog
    dead: Counter[str] = Counter()
    for _, letters, _ in catalog.dead_letters.of(record.id):
        dead[letters.kind] += letters.rows
    stats = stats_of(catalog, record, lags={})
    return DatasetFigures(stats=stats, is_retired=record.is_retired, builds=_builds(warehouse, record, stats), dead_letters=dead)


def _builds(warehouse: Warehouse, record: DatasetRecord, stats: DatasetStats) -> int:
    dataset = warehouse.datasets.get(record.name)
    if dataset is None:  # no longer declared
        return 0
    found = needed(
        stats.partitions,
        dataset=dataset,
        requested=warehouse.catalog.partitions.requested_builds(record.id),
        feeds=source_progress(warehouse.catalog, record.id, dataset),
        newest=stats.totals.newest,
        now=datetime.now(UTC),
        outdated=outdated_partitions(warehouse.catalog, record),
    )
    return len(found)


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
        for source in one.stats.sources:
            where, record = (one.stats.dataset, source.name), source.record
            read.add_metric(where, record.counters.read)
            landed.add_metric(where, record.counters.landed)
            for disposition in DISPOSITIONS:
                records.add_metric((*where, disposition), getattr(record.counters, disposition))
            rate.add_metric(where, source.rows_per_second)
            paused.add_metric(where, bool(record.paused))
            if record.watermark is not None:
                age.add_metric(where, (now - record.watermark).total_seconds())
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
    retired = GaugeMetricFamily("timestore_dataset_retired", "Whether nothing lands in a dataset any more.", labels=("dataset",))
    for one in datasets:
        name, totals = (one.stats.dataset,), one.stats.totals
        version.add_metric(name, one.stats.manifest_version)
        retired.add_metric(name, one.is_retired)
        rows.add_metric(name, totals.rows)
        size.add_metric(name, totals.bytes)
        for state in STATES:
            states.add_metric((*name, state), totals.states.get(state, 0))
        deltas.add_metric(name, totals.deltas)
        unbuilt_rows.add_metric(name, totals.unbuilt_rows)
        unbuilt.add_metric(name, totals.unbuilt_bytes)
        builds.add_metric(name, one.builds)
        files.add_metric(name, one.stats.pending_files)
        for kind in DEAD_LETTER_KINDS:
            dead.add_metric((*name, kind), one.dead_letters.get(kind, 0))
    yield from (version, rows, size, states, deltas, unbuilt_rows, unbuilt, builds, files, dead, retired)
