"""Everything Dagster gets for one dataset."""

from __future__ import annotations

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.assets import build_asset
from timestore_assets.orchestration.build_sensor import build_sensor_of
from timestore_assets.orchestration.landing_job import landing_job_of
from timestore_assets.orchestration.source_assets import source_specs
from timestore_assets.orchestration.source_sensor import source_sensor_of
from timestore_assets.orchestration.stream_job import stream_job_of
from timestore_assets.orchestration.topic_sensor import topic_sensor_of
from timestore_assets.settings import Settings


def dataset_defs(dataset: Dataset, settings: Settings | None = None) -> dg.Definitions:
    """Assets, checks, jobs and sensors of a dataset; `shared_defs` has what all datasets use together."""
    settings = settings or Settings.load()
    asset = build_asset(dataset, settings)
    jobs: list[dg.JobDefinition] = []
    sensors = [build_sensor_of(dataset, asset, settings)]
    if dataset.file_sources or not dataset.sources:
        jobs.append(landing := landing_job_of(dataset))
        sensors += [source_sensor_of(dataset, source, landing, settings) for source in dataset.file_sources]
    if dataset.kafka_sources:
        jobs.append(stream := stream_job_of(dataset))
        sensors += [topic_sensor_of(dataset, source, stream, settings) for source in dataset.kafka_sources]
    specs = [spec for source in dataset.sources for spec in source_specs(dataset, source)]
    return dg.Definitions(assets=[*specs, asset], jobs=jobs, sensors=sensors)
