"""What the sensor of backfills does with one dataset: approved requests become builds of exactly their partitions.

Some are asked for at a time. A sensor has no public way to launch a backfill of Dagster's own, so each request is a series of
runs with the same tag. What is left is told from the catalog at each tick: a run that was killed is made up for by the next one,
and nothing is built twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.building.needs import Need
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Partition
from timestore_assets.orchestration.building.build_asset import PARTITIONS_PER_RUN
from timestore_assets.orchestration.building.build_sensor import build_request, contiguous, not_taken, partition_versions
from timestore_assets.orchestration.dagster_names import BACKFILL_TAG, dataset_key
from timestore_assets.orchestration.pools import set_build_limit
from timestore_assets.orchestration.sweep import Tick

if TYPE_CHECKING:
    from timestore_assets.verbs.backfill_verbs import BackfillStatus
    from timestore_assets.warehouse import Warehouse

RUNS_AT_ONCE = 2
"""Of a dataset's backfills: what lands meanwhile wants to be built too."""
MOST_PER_RUN = 32
"""Partitions: so that a backfill gives way to other builds now and then, and what it has done is seen soon."""
NO_BACKFILL = "no backfill is approved"


def look(tick: Tick, dataset: Dataset) -> dg.SensorResult:
    """One look: end what is done, and ask for runs of what is left as far as there is room for them."""
    warehouse = tick.warehouse
    ended = warehouse.settle_backfills(dataset.name)
    found = warehouse.backfills(dataset.name, states=("asked", "approved"))
    words = [f"backfill {one} is done" for one in ended] + [_standing(one) for one in found]
    approved = [one for one in found if one.backfill.state == "approved" and not one.backfill.is_reload]
    requests, reasons = _requests(tick, dataset, approved) if approved else ([], [])
    said = "; ".join([*words, *reasons]) or NO_BACKFILL
    if requests:
        tick.log.info(f"{dataset.name}: {said}")
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else said)


def _standing(one: BackfillStatus) -> str:
    if one.backfill.state == "asked":
        return f"backfill {one.backfill.id} waits to be approved"
    by_hand = f": {'; '.join(one.commands)}" if one.commands else ""
    return f"backfill {one.backfill.id}: {one.summary}{by_hand}"


def _requests(tick: Tick, dataset: Dataset, approved: Sequence[BackfillStatus]) -> tuple[list[dg.RunRequest], list[str]]:
    """Runs for what no live run takes, the oldest request first, and why some are not asked for now."""
    warehouse, now, key = tick.warehouse, datetime.now(UTC), dataset_key(dataset)
    runs = tick.runs.live(warehouse.catalog, lambda run: key in (run.asset_selection or ()))
    room = RUNS_AT_ONCE - sum(BACKFILL_TAG in run.tags for run in runs)
    if room <= 0:
        return [], []
    set_build_limit(tick.instance, warehouse.settings)
    versions, at_most = partition_versions(warehouse, dataset), min(MOST_PER_RUN, PARTITIONS_PER_RUN[dataset.window])
    requests: list[dg.RunRequest] = []
    reasons: list[str] = []
    taken: set[Partition] = set()
    for one in approved:
        needs = [need for need in _needs(one, dataset) if need.partition not in taken]
        taken.update(need.partition for need in needs)
        for wanted in contiguous(not_taken(needs, runs, dataset), at_most=at_most):
            if len(requests) == room:
                return requests, reasons
            tags = {BACKFILL_TAG: str(one.backfill.id)}
            asked = build_request(tick.instance, dataset, wanted, versions, warehouse.settings, now, tags)
            if isinstance(asked, str):
                reasons.append(asked)
            else:
                requests.append(asked)
    return requests, reasons


def _needs(one: BackfillStatus, dataset: Dataset) -> list[Need]:
    """They don't seal: a build seals what is closed anyway, and a partition that takes rows would be stale at once."""
    reason = f"backfill {one.backfill.id}: {one.summary}"
    found = (Partition(window=dataset.window, start=start) for start in one.progress.partitions)
    return [Need(partition=partition, reason=reason, closes=False) for partition in found]


def waiting_datasets(warehouse: Warehouse) -> set[str]:
    """Datasets with a request that is asked for or approved, in one look."""
    return {one.dataset for one in warehouse.catalog.backfills.listed(states=("asked", "approved"))}
