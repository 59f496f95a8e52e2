"""The sensors that serve all datasets of a code location: files, objects, topics and builds.

However many datasets there are, each of these is one tick of one sensor, with one open warehouse. What is looked at, and what
is asked for, is decided for one source or dataset at a time by the modules that are called here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource, KafkaSource
from timestore_assets.orchestration.building import backfill_sensor, build_sensor
from timestore_assets.orchestration.dagster_names import (
    BACKFILLS_SENSOR,
    BUILDS_SENSOR,
    FILES_SENSOR,
    OBJECTS_SENSOR,
    RELOADS_SENSOR,
    TOPICS_SENSOR,
    dataset_key,
)
from timestore_assets.orchestration.idle_datasets import IdleDatasets
from timestore_assets.orchestration.landing import reload_job, source_sensor, topic_sensor
from timestore_assets.orchestration.landing.idle_folders import IdleFolders
from timestore_assets.orchestration.landing.landing_job import landing_job_of
from timestore_assets.orchestration.landing.reload_job import land_again_job
from timestore_assets.orchestration.landing.stream_job import stream_job_of
from timestore_assets.orchestration.liveness import UnfinishedRuns
from timestore_assets.orchestration.sensor_pace import least_seconds
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.orchestration.sweep import SweepLimits, Tick, WatchedLook, reason_of, sweep
from timestore_assets.settings import Settings
from timestore_assets.sources.files.file_listing import MAX_WATCHED

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

Jobs = Mapping[str, dg.JobDefinition]
"""By dataset."""
_OVER_NETWORK = SweepLimits(seconds=15.0, side_by_side=8)
_LEAST_WATCHED = 500
"""Files of a folder that are kept in mind between ticks, however many folders share the cursor."""
_NO_NEWS = (
    "nothing new",
    "no file is below",
    "no object is below",
    "all ",
    build_sensor.NOTHING_NEEDED,
    reload_job.NOTHING_TO_RELOAD,
)


def jobs_and_sensors(served: ServedDatasets, settings: Settings) -> dg.Definitions:
    """The jobs that land into each dataset, and the sensors that ask for them and for builds.

    There is a sensor for each kind of source that a dataset has; all are on by default. Jobs and sensors come together, because
    Dagster wants a sensor's jobs to be the very objects that it is given as jobs.
    """
    datasets = list(served.all.values())
    landing = {one.name: landing_job_of(one) for one in datasets if one.file_sources or not one.sources}
    streams = {one.name: stream_job_of(one) for one in datasets if one.kafka_sources}
    folders = [(one, source) for one in datasets for source in one.file_sources if source.scheme is None]
    objects = [(one, source) for one in datasets for source in one.file_sources if source.scheme is not None]
    topics = [(one, source) for one in datasets for source in one.kafka_sources]
    sensors = [
        *([_files(folders, landing, served, settings)] if folders else []),
        *([_objects(objects, landing, served, settings)] if objects else []),
        *([_topics(topics, streams, served, settings)] if topics else []),
        *([_builds(datasets, served, settings), _backfills(datasets, served, settings)] if datasets else []),
    ]
    again = [land_again_job(served)] if datasets else []
    sensors += [_reloads(datasets, job, served, settings) for job in again]
    return dg.Definitions(jobs=[*landing.values(), *streams.values(), *again], sensors=sensors)


def _files(
    sources: Sequence[tuple[Dataset, FileSource]], jobs: Jobs, served: ServedDatasets, settings: Settings
) -> dg.SensorDefinition:
    idle, watched = IdleFolders(), max(_LEAST_WATCHED, MAX_WATCHED // len(sources))

    def look(tick: Tick, cursor: str | None, *, dataset: Dataset, source: FileSource) -> dg.SensorResult:
        return source_sensor.look(tick, dataset, source, cursor, idle=idle, watched=watched)

    what = f"Lands files that appear in the watched folders of {_names(sources)}."
    return _landing_sensor(FILES_SENSOR, what, _looks(sources, look), jobs, served, settings, SweepLimits())


def _objects(
    sources: Sequence[tuple[Dataset, FileSource]], jobs: Jobs, served: ServedDatasets, settings: Settings
) -> dg.SensorDefinition:
    """Apart from folders, because a listing over the network may take as long as it likes."""

    def look(tick: Tick, cursor: str | None, *, dataset: Dataset, source: FileSource) -> dg.SensorResult:
        return source_sensor.look_in_bucket(tick, dataset, source, cursor)

    what = f"Lands objects that appear in the buckets of {_names(sources)}."
    return _landing_sensor(OBJECTS_SENSOR, what, _looks(sources, look), jobs, served, settings, _OVER_NETWORK)


def _topics(
    sources: Sequence[tuple[Dataset, KafkaSource]], jobs: Jobs, served: ServedDatasets, settings: Settings
) -> dg.SensorDefinition:
    def look(tick: Tick, cursor: str | None, *, dataset: Dataset, source: KafkaSource) -> dg.SensorResult:
        return topic_sensor.look(tick, dataset, source, cursor)

    what = f"Lands what is new in the topics of {_names(sources)}."
    return _landing_sensor(TOPICS_SENSOR, what, _looks(sources, look), jobs, served, settings, _OVER_NETWORK)


def _looks(
    sources: Sequence[tuple[Dataset, FileSource]] | Sequence[tuple[Dataset, KafkaSource]], look: Callable[..., dg.SensorResult]
) -> list[WatchedLook]:
    return [
        WatchedLook(dataset=dataset.name, source=source.address, look=partial(look, dataset=dataset, source=source))
        for dataset, source in sources
    ]


def _landing_sensor(
    name: str,
    description: str,
    looks: Sequence[WatchedLook],
    jobs: Jobs,
    served: ServedDatasets,
    settings: Settings,
    limits: SweepLimits,
) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        jobs=[jobs[dataset] for dataset in dict.fromkeys(one.dataset for one in looks)],
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def land(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with served.warehouse() as warehouse:
            return _sweep(context, warehouse, _landing(warehouse, looks), limits)

    return land


def _builds(datasets: Sequence[Dataset], served: ServedDatasets, settings: Settings) -> dg.SensorDefinition:
    idle = IdleDatasets()

    @dg.sensor(
        name=BUILDS_SENSOR,
        asset_selection=dg.AssetSelection.assets(*[dataset_key(dataset) for dataset in datasets]),
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for builds of the partitions that need one: closed, or enough unbuilt rows.",
    )
    def builds(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with served.warehouse() as warehouse:
            look = partial(_look_at_builds, versions=warehouse.catalog.datasets.manifest_versions(), idle=idle)
            looks = [WatchedLook(dataset=dataset.name, look=partial(look, dataset=dataset)) for dataset in datasets]
            return _sweep(context, warehouse, [one for one in looks if one.dataset in warehouse.datasets], SweepLimits())

    return builds


def _look_at_builds(
    tick: Tick, _cursor: str | None, *, dataset: Dataset, versions: Mapping[str, int], idle: IdleDatasets
) -> dg.SensorResult:
    version = versions.get(dataset.name)
    if idle.holds(dataset.name, version):
        return dg.SensorResult(skip_reason=build_sensor.NOTHING_NEEDED)
    result = build_sensor.look(tick, dataset)
    if reason_of(result) == build_sensor.NOTHING_NEEDED:
        waiting = any(found.deltas or found.retracted for found in tick.warehouse.partitions(dataset.name))
        idle.remember(dataset.name, version, waiting=waiting)
    return result


def _backfills(datasets: Sequence[Dataset], served: ServedDatasets, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=BACKFILLS_SENSOR,
        asset_selection=dg.AssetSelection.assets(*[dataset_key(dataset) for dataset in datasets]),
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for builds of the partitions that approved backfills rewrite, some at a time, until none is left.",
    )
    def backfills(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with served.warehouse() as warehouse:
            waiting = backfill_sensor.waiting_datasets(warehouse) & set(warehouse.datasets)
            looks = [
                WatchedLook(dataset=dataset.name, look=partial(_look_at_backfills, dataset=dataset))
                for dataset in datasets
                if dataset.name in waiting
            ]
            if not looks:
                return dg.SensorResult(skip_reason=backfill_sensor.NO_BACKFILL)
            return _sweep(context, warehouse, looks, SweepLimits())

    return backfills


def _reloads(
    datasets: Sequence[Dataset], job: dg.JobDefinition, served: ServedDatasets, settings: Settings
) -> dg.SensorDefinition:
    @dg.sensor(
        name=RELOADS_SENSOR,
        job=job,
        minimum_interval_seconds=least_seconds(settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lands files and topics again where an approved request asks for it.",
    )
    def reloads(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with served.warehouse() as warehouse:
            waiting = backfill_sensor.waiting_datasets(warehouse)
            watched = [
                WatchedLook(dataset=dataset.name, look=partial(_look_at_reloads, dataset=dataset))
                for dataset in datasets
                if dataset.name in waiting
            ]
            looks = _landing(warehouse, watched)
            if not looks:
                return dg.SensorResult(skip_reason=reload_job.NOTHING_TO_RELOAD)
            return _sweep(context, warehouse, looks, SweepLimits())

    return reloads


def _look_at_reloads(tick: Tick, _cursor: str | None, *, dataset: Dataset) -> dg.SensorResult:
    return reload_job.look(tick, dataset)


def _look_at_backfills(tick: Tick, _cursor: str | None, *, dataset: Dataset) -> dg.SensorResult:
    return backfill_sensor.look(tick, dataset)


def _landing(warehouse: Warehouse, looks: Sequence[WatchedLook]) -> list[WatchedLook]:
    """Without those of datasets that were dropped or renamed since they were loaded, or are retired."""
    return [one for one in looks if one.dataset in warehouse.datasets and not warehouse.is_retired(one.dataset)]


def _sweep(
    context: dg.SensorEvaluationContext, warehouse: Warehouse, looks: Sequence[WatchedLook], limits: SweepLimits
) -> dg.SensorResult:
    if not looks:
        return dg.SensorResult(skip_reason="no dataset is looked at: all are retired, or have another name by now")
    tick = Tick(instance=context.instance, warehouse=warehouse, runs=UnfinishedRuns(context.instance), log=context.log)
    return sweep(tick, looks, context.cursor, limits=limits, idle=lambda reason: reason.startswith(_NO_NEWS))


def _names(sources: Sequence[tuple[Dataset, object]]) -> str:
    names = list(dict.fromkeys(dataset.name for dataset, _ in sources))
    return ", ".join(names) if len(names) <= 5 else f"{len(names)} datasets"
