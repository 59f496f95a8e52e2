"""Everything Dagster gets for one dataset."""

from __future__ import annotations

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.assets import build_asset, source_spec
from timestore_assets.orchestration.build_sensor import build_sensor_of
from timestore_assets.orchestration.landing_job import landing_job_of
from timestore_assets.orchestration.source_sensor import source_sensor_of
from timestore_assets.settings import Settings


def dataset_defs(dataset: Dataset, settings: Settings | None = None) -> dg.Definitions:
    """Assets, checks, job and sensors of a dataset; `shared_defs` has what all datasets use together."""
    settings = settings or Settings.load()
    landing = landing_job_of(dataset)
    asset = build_asset(dataset, settings)
    return dg.Definitions(
        assets=[*(source_spec(dataset, source) for source in dataset.sources), asset],
        jobs=[landing],
        sensors=[
            *(source_sensor_of(dataset, source, landing, settings) for source in dataset.sources),
            build_sensor_of(dataset, asset, settings),
        ],
    )
