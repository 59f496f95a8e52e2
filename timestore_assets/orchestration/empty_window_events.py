"""A finished dataset is whole in Dagster too: each window that stayed without rows gets one event that says so.

Without it such a dataset would stay below 100 % for ever. No transaction of the catalog tells of what never came, so nothing is
queued: Dagster's own record says which windows it knows, and a lease keeps two relays from telling the same one. A relay that
dies goes on where it ended. Rows that arrive later are landed and built as ever, and their event takes the place of this one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.building.empty_windows import empty_windows, has_ended, is_complete
from timestore_assets.building.needs import source_progress
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Partition
from timestore_assets.orchestration.building.build_asset import partitions_def
from timestore_assets.orchestration.building.metadata import EMPTY_WINDOW, empty_metadata
from timestore_assets.orchestration.dagster_names import DATASET_TAG, dataset_key
from timestore_assets.orchestration.idle_datasets import IdleDatasets
from timestore_assets.orchestration.liveness import UnfinishedRuns

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.warehouse import Warehouse

QUIET_LOOKS = 4
"""How many looks of the sensors at its sources must have come to nothing since the last rows."""
_SECONDS = 10.0
"""No event is begun later in a tick; the rest waits for the next."""
_TTL = timedelta(seconds=60)
_KNOWN = (dg.AssetPartitionStatus.MATERIALIZED, dg.AssetPartitionStatus.IN_PROGRESS)


def tell_empty_windows(
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    *,
    idle: IdleDatasets,
    now: datetime | None = None,
    seconds: float = _SECONDS,
) -> int:
    """Report the windows without rows of every dataset that is complete; returns how many were reported.

    `idle`: datasets of which all is told, or that are not complete yet.
    """
    moment, ended, done = now or datetime.now(UTC), time.monotonic() + seconds, 0
    datasets = [one for one in warehouse.datasets.values() if has_ended(one, moment)]
    versions = warehouse.catalog.datasets.manifest_versions() if datasets else {}
    runs = UnfinishedRuns(instance)
    for dataset in datasets:
        version = versions.get(dataset.name)
        if version is None or idle.holds(dataset.name, version):
            continue
        if not _is_quiet(warehouse, runs, dataset, moment):
            idle.remember(dataset.name, version, waiting=True)
            continue
        told, whole = _tell(warehouse, instance, dataset, ended)
        done += told
        if whole:
            idle.remember(dataset.name, version, waiting=False)
        if time.monotonic() >= ended:
            break
    return done


def missing_partitions(instance: dg.DagsterInstance, dataset: Dataset, partitions: Sequence[Partition]) -> list[Partition]:
    """Those of the partitions that Dagster does not show as filled, and that no run is about to fill."""
    keys = [partition.key for partition in partitions]
    found = instance.get_status_by_partition(dataset_key(dataset), keys, partitions_def(dataset)) or {} if keys else {}
    return [partition for partition in partitions if found.get(partition.key) not in _KNOWN]


def unfilled(home: Path, datasets: Iterable[Dataset]) -> int:
    """How many partitions of these finished datasets the Dagster home does not show as filled."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        windows = ((one, list(one.window.between(one.start, one.end))) for one in datasets if one.end is not None)
        return sum(len(missing_partitions(instance, one, partitions)) for one, partitions in windows)


def _is_quiet(warehouse: Warehouse, runs: UnfinishedRuns, dataset: Dataset, now: datetime) -> bool:
    catalog, (_, record) = warehouse.catalog, warehouse.resolve(dataset.name)
    quiet = timedelta(seconds=QUIET_LOOKS * warehouse.settings.sensor_interval_seconds)
    feeds = source_progress(catalog, record.id, dataset)
    if not is_complete(catalog.partitions.of(record.id), dataset=dataset, feeds=feeds, quiet=quiet, now=now):
        return False
    return not runs.live(catalog, lambda run: run.tags.get(DATASET_TAG) == dataset.name)


def _tell(warehouse: Warehouse, instance: dg.DagsterInstance, dataset: Dataset, ended: float) -> tuple[int, bool]:
    """How many windows were reported, and whether none is left."""
    _, record = warehouse.resolve(dataset.name)
    empty = list(empty_windows(warehouse.catalog.partitions.of(record.id), dataset))
    if not empty:
        return 0, True
    with _alone(warehouse, record) as alone:
        if not alone:
            return 0, False
        left = missing_partitions(instance, dataset, empty)
        for done, partition in enumerate(left):
            if done and time.monotonic() >= ended:
                return done, False
            _report(warehouse, instance, dataset, record, partition)
        return len(left), True


def _report(
    warehouse: Warehouse, instance: dg.DagsterInstance, dataset: Dataset, record: DatasetRecord, partition: Partition
) -> None:
    """One event, unless rows have arrived just now: whoever builds them reports them."""
    found = warehouse.catalog.partitions.find(record.id, partition)
    if found is not None and found.rows:
        return
    event = dg.AssetMaterialization(
        dataset_key(dataset),
        partition=partition.key,
        metadata=empty_metadata(warehouse, record),
        description=f"{EMPTY_WINDOW}; the dataset ended {dataset.end:%Y-%m-%d}",
    )
    instance.report_runless_asset_event(event)


@contextmanager
def _alone(warehouse: Warehouse, record: DatasetRecord) -> Iterator[bool]:
    """Whether no other relay tells of the dataset's windows meanwhile; a tick ends long before the lease does."""
    leases = warehouse.catalog.leases
    lease = leases.acquire(f"empty-windows:{record.id}", holder=f"{warehouse.holder}:{token_hex(4)}", ttl=_TTL)
    try:
        yield lease is not None
    finally:
        if lease is not None:
            leases.release(lease)
