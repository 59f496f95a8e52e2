"""Everything Dagster gets for one dataset, and what all datasets of a code location use together."""

from __future__ import annotations

from functools import cache

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.alert_sensors import alert_sensors
from timestore_assets.orchestration.building.build_asset import build_asset
from timestore_assets.orchestration.building.io_manager import TimestoreIOManager
from timestore_assets.orchestration.dagster_names import IO_MANAGER
from timestore_assets.orchestration.dataset_sensors import jobs_and_sensors
from timestore_assets.orchestration.outbox_relay import relay_sensor
from timestore_assets.orchestration.reload_sensor import reload_sensors
from timestore_assets.orchestration.resources import DatasetsDuckDBResource, WarehouseResource
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.source_assets import source_specs
from timestore_assets.orchestration.upkeep_schedules import upkeep_defs
from timestore_assets.settings import Settings


def dataset_defs(dataset: Dataset, settings: Settings | None = None) -> dg.Definitions:
    """Assets and checks of a dataset, and the IO manager that they share with those of other datasets.

    It is one object, so that definitions can be merged. Nothing of a dataset asks for another resource by key: a project may
    call its own ones `warehouse` or `duckdb`.
    """
    asset = build_asset(dataset, settings or Settings.load())
    specs = [spec for source in dataset.sources for spec in source_specs(dataset, source)]
    return dg.Definitions(assets=[*specs, asset], resources={IO_MANAGER: _io_manager()})


def shared_defs(served: ServedDatasets, settings: Settings | None = None) -> dg.Definitions:
    """What a code location has once: `serving_defs`, and `warehouse`, `duckdb` and `timestore_io`."""
    warehouse = WarehouseResource()
    resources = {
        "warehouse": warehouse,
        "duckdb": DatasetsDuckDBResource(warehouse=warehouse),
        IO_MANAGER: _io_manager(),
    }
    return dg.Definitions.merge(serving_defs(served, settings or Settings.load()), dg.Definitions(resources=resources))


def serving_defs(served: ServedDatasets, settings: Settings) -> dg.Definitions:
    """The sensors and schedules that serve all datasets of a code location, and the jobs that they ask for."""
    sensors = [relay_sensor(served, settings), *alert_sensors(served, settings), *reload_sensors(served, settings)]
    return dg.Definitions.merge(jobs_and_sensors(served, settings), upkeep_defs(served), dg.Definitions(sensors=sensors))


@cache
def _io_manager() -> TimestoreIOManager:
    """One object, because Dagster refuses to merge definitions that have two of the same key."""
    return TimestoreIOManager(warehouse=WarehouseResource())
