"""The job that lands files: one bounded session, many commits, then the outbox is drained."""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import dagster as dg
from pydantic import Field

from timestore_assets.landing.report import LandReport
from timestore_assets.landing.sharing import Share
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError
from timestore_assets.orchestration.failures import failing
from timestore_assets.orchestration.landing_log import LoggedProgress
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.names import DATASET_TAG, LANDING_POOL, landing_job, landing_op
from timestore_assets.orchestration.relay import drain
from timestore_assets.orchestration.resources import WarehouseResource


class LandConfig(dg.Config):
    """What one landing run takes."""

    source: str = Field(description="Address of the source, as the dataset declares it.")
    files: list[str] = Field(description="Files to land, relative to the source's prefix.")
    share: int = Field(0, description="Which of the runs that share these files this is, from 0 on.")
    of: int = Field(1, ge=1, description="How many runs share these files.")
    bytes: int = Field(0, description="Size of all these files, to tell how much is left; 0 when it is not known.")


def landing_job_of(dataset: Dataset) -> dg.JobDefinition:
    """The job that lands files of a dataset; the watching sensor starts it, a person can too."""

    @dg.op(name=landing_op(dataset.name), pool=LANDING_POOL, description=f"Land files into {dataset.name}.")
    def land(context: dg.OpExecutionContext, config: LandConfig, warehouse: WarehouseResource) -> None:
        land_files(context, dataset, config, warehouse)

    @dg.job(
        name=landing_job(dataset.name),
        description=f"Lands files into {dataset.name}: decode, validate, route, publish. Interrupted, it goes on where it was.",
        executor_def=dg.in_process_executor,
        tags={DATASET_TAG: dataset.name},
    )
    def job() -> None:
        land()

    return job


def land_files(context: dg.OpExecutionContext, dataset: Dataset, config: LandConfig, resource: WarehouseResource) -> None:
    """Land the files of one run and report what became of them.

    Raises:
        dagster.Failure: the session could not do its work; a file that can't be read is no failure, it is quarantined.
    """
    with (
        failing(f"landing into {dataset.name}"),
        resource.opened(dataset) as warehouse,
        run_lease(warehouse.catalog, context.run_id),
    ):
        source = _source(dataset, config.source)
        files = warehouse.source_files(source)
        report = warehouse.land_source(
            dataset.name,
            source,
            [files.file(address) for address in config.files],
            share=Share(index=config.share, of=config.of) if config.of > 1 else None,
            progress=LoggedProgress(context.log, total_bytes=config.bytes),
            actor=f"dagster run {context.run_id}",
        )
        _summarise(context, report)
        drain(warehouse, context.instance)


def _source(dataset: Dataset, address: str) -> FileSource:
    for source in dataset.file_sources:
        if source.address == address:
            return source
    known = ", ".join(source.address for source in dataset.file_sources) or "none"
    raise InputError(f"dataset {dataset.name!r} watches no folder {address!r}; its file sources are: {known}")


def _summarise(context: dg.OpExecutionContext, report: LandReport) -> None:
    for file in report.files:
        if file.state in ("quarantined", "rejected"):
            context.log.warning(f"{file.address} was {file.state}: {file.reason}")
    counters = report.counters
    context.add_output_metadata(
        {
            "files": len(report.files),
            "parts": report.parts,
            "bytes": report.bytes,
            "read": counters.read,
            "landed": counters.landed,
            "duplicates": counters.duplicates,
            "dead_letters": counters.dead_letters,
            "segments": report.segments,
            "partitions": len(report.partitions),
            "manifest_version": report.manifest_version,
            "seconds": round(report.seconds, 3),
            "rows_per_second": round(counters.landed / report.seconds) if report.seconds else 0,
        }
    )
