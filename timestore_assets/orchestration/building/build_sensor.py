"""What the sensor of builds does with one dataset; `building.needs` decides which partitions need a build.

Partitions that follow each other are asked for as one range, which Dagster takes in one run request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.building.needs import Need
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Partition
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.building.build_asset import PARTITIONS_PER_RUN, known_partition, reached
from timestore_assets.orchestration.dagster_names import (
    CLOSE_TAG,
    DATASET_TAG,
    NEED_TAG,
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REASON_TAG,
    dataset_key,
)
from timestore_assets.orchestration.pools import set_build_limit
from timestore_assets.orchestration.sweep import Tick
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRange:
    """Consecutive partitions that are needed, all to be sealed or none."""

    needs: tuple[Need, ...]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(need.partition for need in self.needs)

    @property
    def first(self) -> Partition:
        return self.needs[0].partition

    @property
    def last(self) -> Partition:
        return self.needs[-1].partition

    @property
    def closes(self) -> bool:
        return self.needs[0].closes

    @property
    def reason(self) -> str:
        """The first need's reason, and how many more there are."""
        others = len(self.needs) - 1
        return self.needs[0].reason if not others else f"{self.needs[0].reason}; {others} more like it"


def contiguous(needs: Sequence[Need], *, at_most: int) -> list[BuildRange]:
    """The needs as ranges without gaps, in order of time, each of at most `at_most` partitions."""
    if at_most < 1:
        raise ValueError(f"at_most is {at_most}; a range holds at least one partition")
    return [BuildRange(needs=run[i : i + at_most]) for run in _runs(needs) for i in range(0, len(run), at_most)]


def _runs(needs: Sequence[Need]) -> Iterator[tuple[Need, ...]]:
    run: list[Need] = []
    for need in sorted(needs, key=lambda need: need.partition.start):
        if run and (run[-1].partition.end != need.partition.start or run[-1].closes != need.closes):
            yield tuple(run)
            run = []
        run.append(need)
    if run:
        yield tuple(run)


_RUNS_PER_TICK = 20


NOTHING_NEEDED = "every partition is built, or is open and below its thresholds"


def look(tick: Tick, dataset: Dataset) -> dg.SensorResult:
    """One look: ask for runs of the partitions that need a build and that no live run is about to build."""
    now, warehouse = datetime.now(UTC), tick.warehouse
    needs = [need for need in warehouse.needed_builds(dataset.name, now=now) if reached(need.partition, now)]
    if not needs:
        return dg.SensorResult(skip_reason=NOTHING_NEEDED)
    key = dataset_key(dataset)
    runs = tick.runs.live(warehouse.catalog, lambda run: key in (run.asset_selection or ()))
    set_build_limit(tick.instance, warehouse.settings)
    free = not_taken(needs, runs, dataset)
    if not free:
        return dg.SensorResult(skip_reason=f"{_count(len(needs))} being built in {len(runs)} runs")
    return _requests(tick.instance, warehouse, dataset, free, now)


def _requests(
    instance: dg.DagsterInstance, warehouse: Warehouse, dataset: Dataset, needs: Sequence[Need], now: datetime
) -> dg.SensorResult:
    versions = partition_versions(warehouse, dataset)
    requests: list[dg.RunRequest] = []
    reasons: list[str] = []
    for wanted in contiguous(needs, at_most=PARTITIONS_PER_RUN[dataset.window])[:_RUNS_PER_TICK]:
        asked = build_request(instance, dataset, wanted, versions, warehouse.settings, now)
        if isinstance(asked, str):
            reasons.append(asked)
        else:
            requests.append(asked)
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else "; ".join(reasons))


def partition_versions(warehouse: Warehouse, dataset: Dataset) -> dict[str, int]:
    """By partition key the manifest version at which it last changed."""
    return {known.partition.key: known.manifest_version for known in warehouse.partitions(dataset.name)}


def build_request(
    instance: dg.DagsterInstance,
    dataset: Dataset,
    wanted: BuildRange,
    versions: Mapping[str, int],
    settings: Settings,
    now: datetime,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> dg.RunRequest | str:
    """The run request of a range, or why there is none now.

    `versions`: see `partition_versions`; the same work at the same versions is not asked for twice at once. `tags`: more of them.
    """
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
        asset_selection=[dataset_key(dataset)],
        tags={
            DATASET_TAG: dataset.name,
            NEED_TAG: digest,
            RANGE_START_TAG: wanted.first.key,
            RANGE_END_TAG: wanted.last.key,
            REASON_TAG: wanted.reason[:250],
            **({} if wanted.closes else {CLOSE_TAG: "no"}),
            **tags,
        },
    )


def not_taken(needs: Sequence[Need], runs: Sequence[dg.DagsterRun], dataset: Dataset) -> list[Need]:
    """Those that none of the runs is about to build."""
    return [need for need in needs if not any(_takes(run, need, dataset) for run in runs)]


def _takes(run: dg.DagsterRun, need: Need, dataset: Dataset) -> bool:
    """Whether a run's partitions include the needed one; a run without partitions in its tags takes none."""
    first = known_partition(dataset, run.tags.get(RANGE_START_TAG, run.tags.get(PARTITION_TAG, "")))
    last = known_partition(dataset, run.tags.get(RANGE_END_TAG, run.tags.get(PARTITION_TAG, "")))
    return first is not None and last is not None and first.start <= need.partition.start <= last.start


def _count(partitions: int) -> str:
    return "1 partition is" if partitions == 1 else f"{partitions:,} partitions are"
