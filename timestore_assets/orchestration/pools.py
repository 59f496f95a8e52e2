"""How many build runs go at a time, over all datasets."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.names import BUILD_POOL
from timestore_assets.settings import Settings


def set_build_limit(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Give the build pool the limit of TIMESTORE_PARTITION_BUILD_CONCURRENCY where that is set.

    Otherwise the pool is left to `dagster.yaml` and to what a person set in the UI.
    """
    if "partition_build_concurrency" not in settings.model_fields_set:
        return
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    if limits.get(BUILD_POOL) != settings.partition_build_concurrency:
        instance.event_log_storage.set_concurrency_slots(BUILD_POOL, settings.partition_build_concurrency)
