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
from timestore_assets.orchestration.lineage_sensor import lineage_sensors
from timestore_assets.orchestration.outbox_relay import relay_sensor
from timestore_assets.orchestration.reload_sensor import reload_sensors
from timestore_assets.orchestration.resources import DatasetsDuckDBResource, WarehouseResource
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.source_assets import source_specs
from timestore_assets.orchestration.stored_columns_shown import shown_datasets
from timestore_assets.orchestration.upkeep_schedules import upkeep_defs
from timestore_assets.settings import Settings


def dataset_defs(dataset: Dataset, settings: Settings | None = None, *, shown: Dataset | None = None) -> dg.Definitions:
    """Assets and checks of a dataset, and the IO manager that they share with those of other datasets.

    `shown`: the dataset with the columns that the catalog has, which is looked at when this is None.

    It is one object, so that definitions can be merged. Nothing of a dataset asks for another resource by key: a project may
    call its own ones `warehouse` or `duckdb`.
    """
    settings = settings or Settings.load()
    shown = shown or shown_datasets([dataset], settings).get(dataset.name)
    asset = build_asset(dataset, settings, shown)
    specs = [spec for source in dataset.sources for spec in source_specs(dataset, source)]
    return dg.Definitions(assets=[*specs, asset], resources={IO_MANAGER: _io_manager()})


def shared_defs(served: ServedDatasets, settings: Settings | None = None, *, upkeep: bool = True) -> dg.Definitions:
    """What a code location has once: `serving_defs`, and `warehouse`, `duckdb` and `timestore_io`."""
    warehouse = WarehouseResource()
    resources = {
        "warehouse": warehouse,
        "duckdb": DatasetsDuckDBResource(warehouse=warehouse),
        IO_MANAGER: _io_manager(),
    }
    serving = serving_defs(served, settings or Settings.load(), upkeep=upkeep)
    return dg.Definitions.merge(serving, dg.Definitions(resources=resources))


def serving_defs(served: ServedDatasets, settings: Settings, *, upkeep: bool = True) -> dg.Definitions:
    """The sensors and schedules that serve all datasets of a code location, and the jobs that they ask for.

    `upkeep`: with the jobs that tidy up, and their schedules.
    """
    sensors = [
        relay_sensor(served, settings),
        *alert_sensors(served, settings),
        *lineage_sensors(served, settings),
        *reload_sensors(served, settings),
    ]
    tidying = [upkeep_defs(served)] if upkeep else []
    return dg.Definitions.merge(jobs_and_sensors(served, settings), *tidying, dg.Definitions(sensors=sensors))


@cache
def _io_manager() -> TimestoreIOManager:
    """One object, because Dagster refuses to merge definitions that have two of the same key."""
    return TimestoreIOManager(warehouse=WarehouseResource())
