"""How many build runs and sessions on topics go at a time, over all datasets."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.dagster_names import BUILD_POOL, STREAM_POOL
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse


def set_build_limit(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Give the build pool the limit of TIMESTORE_PARTITION_BUILD_CONCURRENCY where that is set.

    Otherwise the pool is left to `dagster.yaml` and to what a person set in the UI.
    """
    if "partition_build_concurrency" not in settings.model_fields_set:
        return
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    if limits.get(BUILD_POOL) != settings.partition_build_concurrency:
        instance.event_log_storage.set_concurrency_slots(BUILD_POOL, settings.partition_build_concurrency)


def set_stream_limit(instance: dg.DagsterInstance, warehouse: Warehouse) -> None:
    """Give the pool of sessions on topics a limit that lets every source and shard have its session at the same time.

    A session lasts for minutes, so one that had to wait for another would keep its topic partitions unread. A limit that is
    higher already is left alone.
    """
    sources = [source for dataset in warehouse.datasets.values() for source in dataset.kafka_sources]
    shards = sum(1 if source.shards == "auto" else source.shards for source in sources)
    wanted = max(warehouse.settings.stream_sessions, shards)
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    if (limits.get(STREAM_POOL) or 0) < wanted:
        instance.event_log_storage.set_concurrency_slots(STREAM_POOL, wanted)
