"""The sensor that watches a prefix. What is ready is decided below `sources.files`; here is only what Dagster adds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.orchestration.landing_requests import NotNow, counted, landing_requests, source_tags
from timestore_assets.orchestration.liveness import live_runs
from timestore_assets.orchestration.names import source_sensor
from timestore_assets.orchestration.object_look import look_in_bucket
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.settings import Settings
from timestore_assets.sources.files.discovery import plan
from timestore_assets.sources.files.listing import Listing

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

FILES_PER_RUN = 100


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
            return (look if source.scheme is None else look_in_bucket)(context, opened, dataset, source)

    return watch


def look(context: dg.SensorEvaluationContext, warehouse: Warehouse, dataset: Dataset, source: FileSource) -> dg.SensorResult:
    """One tick over a folder of this machine: list, plan, and ask for a landing run of the files that are ready."""
    _, record = warehouse.resolve(dataset.name)
    listing = warehouse.source_files(source).listing(dataset.start, dataset.upper_bound(datetime.now(UTC)))
    known = warehouse.catalog.source(record.id, source.kind, source.address)
    settled = warehouse.catalog.settled_etags(known.id, [file.address for file in listing.files])
    ready, cursor = plan(listing, context.cursor, settled)
    for problem in listing.problems:
        context.log.warning(f"{problem.address}: {problem.reason}")
    if not ready:
        return dg.SensorResult(skip_reason=_nothing(listing, settled, source), cursor=cursor)
    tags = source_tags(dataset, source)
    busy = live_runs(context.instance, warehouse.catalog, lambda run: tags.items() <= run.tags.items())
    if busy:
        text = f"{counted(ready)} wait for landing run {busy[0].run_id[:8]}, which is still at work"
        return dg.SensorResult(skip_reason=text, cursor=cursor)
    asked = landing_requests(context.instance, dataset, source, ready[:FILES_PER_RUN], warehouse.settings)
    if isinstance(asked, NotNow):
        return dg.SensorResult(skip_reason=asked.reason, cursor=cursor)
    return dg.SensorResult(run_requests=asked, cursor=cursor)


def _nothing(listing: Listing, settled: Mapping[str, str], source: FileSource) -> str:
    new = [file for file in listing.files if settled.get(file.address) != file.etag]
    if new:
        return f"{counted(new)} seen for the first time; landed once they look the same at the next tick"
    if listing.files:
        return f"nothing new among {counted(listing.files)} below {source.prefix}"
    return f"no file is below {source.prefix} yet" + ("" if source.glob == "**/*" else f" that matches {source.glob}")
