"""What every code location with datasets needs once: resources, the executor, the relay."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.io_manager import TimestoreIOManager
from timestore_assets.orchestration.names import IO_MANAGER
from timestore_assets.orchestration.relay_sensor import relay_sensor
from timestore_assets.orchestration.resources import DatasetsDuckDBResource, WarehouseResource
from timestore_assets.settings import Settings


def shared_defs(settings: Settings | None = None) -> dg.Definitions:
    """Resources `warehouse`, `duckdb` and `timestore_io`, the outbox relay, and the in-process executor.

    In-process, because a multiprocess run costs seconds more to start and its child outlives a killed run.
    """
    settings = settings or Settings.load()
    warehouse = WarehouseResource()
    return dg.Definitions(
        resources={
            "warehouse": warehouse,
            "duckdb": DatasetsDuckDBResource(warehouse=warehouse),
            IO_MANAGER: TimestoreIOManager(warehouse=warehouse),
        },
        sensors=[relay_sensor(settings)],
        executor=dg.in_process_executor,
    )
