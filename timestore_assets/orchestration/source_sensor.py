"""The sensor that watches a prefix. What is ready is decided by `sources.files.discovery`; here is only what Dagster adds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.catalog.records import FileState
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.liveness import live_runs
from timestore_assets.orchestration.names import DATASET_TAG, FILES_TAG, SOURCE_TAG, landing_op, source_sensor
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.settings import Settings
from timestore_assets.sources.files.discovery import plan
from timestore_assets.sources.files.listing import ListedFile, Listing, list_files

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

FILES_PER_RUN = 100
_SETTLED: tuple[FileState, ...] = ("landed", "duplicate", "rejected", "quarantined")


def source_sensor_of(dataset: Dataset, source: FileSource, job: dg.JobDefinition, settings: Settings) -> dg.SensorDefinition:
    """The sensor of one source; it is on by default."""

    @dg.sensor(
        name=source_sensor(dataset, source),
        job=job,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Lands files that appear below `{source.prefix}` into {dataset.name}.",
        metadata={"prefix": source.prefix, "glob": source.glob},
    )
    def watch(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult:
        with warehouse.opened(dataset) as opened:
            return look(context, opened, dataset, source)

    return watch


def look(context: dg.SensorEvaluationContext, warehouse: Warehouse, dataset: Dataset, source: FileSource) -> dg.SensorResult:
    """One tick: list, plan, and ask for a landing run of the files that are ready."""
    _, record = warehouse.resolve(dataset.name)
    listing = list_files(warehouse.prefix_folder(source), source.glob)
    known = warehouse.catalog.source(record.id, source.kind, source.address)
    settled = {file.address: file.etag for file in warehouse.catalog.files(known.id, states=_SETTLED)}
    ready, cursor = plan(listing, context.cursor, settled)
    for problem in listing.problems:
        context.log.warning(f"{problem.address}: {problem.reason}")
    if not ready:
        return dg.SensorResult(skip_reason=_nothing(listing, settled, source), cursor=cursor)
    tags = {DATASET_TAG: dataset.name, SOURCE_TAG: digest_of([source.address])}
    busy = live_runs(context.instance, warehouse.catalog, lambda run: tags.items() <= run.tags.items())
    if busy:
        text = f"{_count(ready)} wait for landing run {busy[0].run_id[:8]}, which is still at work"
        return dg.SensorResult(skip_reason=text, cursor=cursor)
    return _request(context.instance, dataset, source, ready, tags=tags, settings=warehouse.settings, cursor=cursor)


def _request(
    instance: dg.DagsterInstance,
    dataset: Dataset,
    source: FileSource,
    ready: Sequence[ListedFile],
    *,
    tags: dict[str, str],
    settings: Settings,
    cursor: str,
) -> dg.SensorResult:
    files = ready[:FILES_PER_RUN]
    digest = digest_of([dataset.name, source.address, *(f"{file.address}\0{file.etag}" for file in files)])
    tried = attempts(instance, FILES_TAG, digest)
    if tried.exhausted(settings.partition_build_attempts):
        text = (
            f"landing {_count(files)} failed {tried.count} times, last in run {tried.last_run[:8]}; mend what it says, "
            f"then launch the job by hand or touch one of the files"
        )
        return dg.SensorResult(skip_reason=text, cursor=cursor)
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > datetime.now(UTC):
        text = f"{_count(files)} failed to land in run {tried.last_run[:8]}; tried again at {due:%H:%M:%S} UTC"
        return dg.SensorResult(skip_reason=text, cursor=cursor)
    config = {"source": source.address, "files": [file.address for file in files]}
    request = dg.RunRequest(
        run_key=f"{dataset.name}:{digest}:{tried.count}",
        run_config={"ops": {landing_op(dataset.name): {"config": config}}},
        tags={**tags, FILES_TAG: digest},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _nothing(listing: Listing, settled: dict[str, str], source: FileSource) -> str:
    new = [file for file in listing.files if settled.get(file.address) != file.etag]
    if new:
        return f"{_count(new)} seen for the first time; landed once they look the same at the next tick"
    if listing.files:
        return f"nothing new among {_count(listing.files)} below {source.prefix}"
    return f"no file is below {source.prefix} yet" + ("" if source.glob == "**/*" else f" that matches {source.glob}")


def _count(files: Sequence[ListedFile]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files):,} files"
