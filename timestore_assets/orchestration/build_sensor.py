"""The sensor that asks for builds. Which partitions need one is decided by `building.needs`; here is only what Dagster adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.building.ranges import BuildRange, contiguous
from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.liveness import live_runs
from timestore_assets.orchestration.names import (
    CLOSE_TAG,
    DATASET_TAG,
    NEED_TAG,
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REASON_TAG,
    build_sensor,
    dataset_key,
)
from timestore_assets.orchestration.partitions import PARTITIONS_PER_RUN, known_partition, reached
from timestore_assets.orchestration.pools import set_build_limit
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.building.needs import Need
    from timestore_assets.warehouse import Warehouse

_RUNS_PER_TICK = 20


def build_sensor_of(dataset: Dataset, asset: dg.AssetsDefinition, settings: Settings) -> dg.SensorDefinition:
    """The sensor of one dataset's builds; it is on by default."""

    @dg.sensor(
        name=build_sensor(dataset.name),
        target=asset,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Asks for builds of the partitions of {dataset.name} that need one: closed, or enough unbuilt rows.",
    )
    def build(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult:
        with warehouse.opened(dataset) as opened:
            return look(context.instance, opened, dataset)

    return build


def look(instance: dg.DagsterInstance, warehouse: Warehouse, dataset: Dataset) -> dg.SensorResult:
    """One tick: ask for runs of the partitions that need a build and that no live run is about to build."""
    now = datetime.now(UTC)
    needs = [need for need in warehouse.needed_builds(dataset.name, now=now) if reached(need.partition, now)]
    if not needs:
        return dg.SensorResult(skip_reason="every partition is built, or is open and below its thresholds")
    key = dataset_key(dataset.name)
    runs = live_runs(instance, warehouse.catalog, lambda run: key in (run.asset_selection or ()))
    set_build_limit(instance, warehouse.settings)
    free = [need for need in needs if not any(_takes(run, need, dataset) for run in runs)]
    if not free:
        return dg.SensorResult(skip_reason=f"{_count(len(needs))} being built in {len(runs)} runs")
    return _requests(instance, warehouse, dataset, free, now)


def _requests(
    instance: dg.DagsterInstance, warehouse: Warehouse, dataset: Dataset, needs: Sequence[Need], now: datetime
) -> dg.SensorResult:
    _, record = warehouse.resolve(dataset.name)
    versions = {found.partition.key: found.manifest_version for found in warehouse.catalog.partitions(record.id)}
    requests: list[dg.RunRequest] = []
    reasons: list[str] = []
    for wanted in contiguous(needs, at_most=PARTITIONS_PER_RUN[dataset.window])[:_RUNS_PER_TICK]:
        found = _request(instance, dataset, wanted, versions, warehouse.settings, now)
        if isinstance(found, str):
            reasons.append(found)
        else:
            requests.append(found)
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else "; ".join(reasons))


def _request(
    instance: dg.DagsterInstance,
    dataset: Dataset,
    wanted: BuildRange,
    versions: Mapping[str, int],
    settings: Settings,
    now: datetime,
) -> dg.RunRequest | str:
    """The run request of a range, or why there is none now."""
    digest = digest_of([dataset.name, *(f"{need.partition.key}@{versions.get(need.partition.key)}" for need in wanted.needs)])
    tried = attempts(instance, NEED_TAG, digest)
    span = wanted.first.key if len(wanted.needs) == 1 else f"{wanted.first.key} to {wanted.last.key}"
    if tried.exhausted(settings.partition_build_attempts):
        return f"{span} failed to build {tried.count} times, last in run {tried.last_run[:8]}; mend it and materialise by hand"
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > now:
        return f"{span} failed to build in run {tried.last_run[:8]}; tried again at {due:%H:%M:%S} UTC"
    return dg.RunRequest(
        run_key=f"{dataset.name}:{digest}:{tried.count}",
        asset_selection=[dataset_key(dataset.name)],
        tags={
            DATASET_TAG: dataset.name,
            NEED_TAG: digest,
            RANGE_START_TAG: wanted.first.key,
            RANGE_END_TAG: wanted.last.key,
            REASON_TAG: wanted.reason[:250],
            **({} if wanted.closes else {CLOSE_TAG: "no"}),
        },
    )


def _takes(run: dg.DagsterRun, need: Need, dataset: Dataset) -> bool:
    """Whether a run's partitions include the needed one; a run without partitions in its tags takes none."""
    first = known_partition(dataset, run.tags.get(RANGE_START_TAG, run.tags.get(PARTITION_TAG, "")))
    last = known_partition(dataset, run.tags.get(RANGE_END_TAG, run.tags.get(PARTITION_TAG, "")))
    return first is not None and last is not None and first.start <= need.partition.start <= last.start


def _count(partitions: int) -> str:
    return "1 partition is" if partitions == 1 else f"{partitions:,} partitions are"
