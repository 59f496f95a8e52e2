"""The job that lands files: one bounded session, many commits, then the outbox is drained.

Its progress becomes lines of the run's log.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import time
from collections.abc import Callable

import dagster as dg
from pydantic import Field

from timestore_assets.landing.files.context import Share
from timestore_assets.landing.files.land_report import FileReport, LandReport, unread_path_sentence
from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.dagster_names import LANDING_POOL, landing_job, landing_op
from timestore_assets.orchestration.dataset_step import dataset_step, job_of_step, source_at
from timestore_assets.orchestration.outbox_relay import drain

LOG_SECONDS = 5.0


class LoggedProgress:
    """One line at a file's beginning and end, and one every few seconds of all files; a `LandingListener`.

    `total_bytes`: of all files, so that the time left can be told; 0 when it is not known.
    """

    def __init__(self, log: dg.DagsterLogManager, *, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._total, self._clock = log, total_bytes, clock
        self._started = self._said = clock()
        self._bytes: dict[str, int] = {}
        self._rows: dict[str, int] = {}

    def file_started(self, address: str, size_bytes: int) -> None:
        """See `LandingListener`."""
        self._log.info(f"landing {address} ({size_bytes:,} bytes)")

    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        """See `LandingListener`."""
        self._bytes[address], self._rows[address] = bytes_read, rows
        now = self._clock()
        if now - self._said >= LOG_SECONDS:
            self._said = now
            self._log.info(f"{address}: {rows:,} records, {bytes_read:,} bytes so far; {self._all(now - self._started)}")

    def file_done(self, report: FileReport) -> None:
        """See `LandingListener`."""
        counters = report.counters
        self._bytes[report.address] = report.bytes
        self._log.info(
            f"{report.address}: {report.state}; read {counters.read:,}, landed {counters.landed:,}, "
            f"duplicates {counters.duplicates:,}, dead letters {counters.dead_letters:,}"
        )

    def _all(self, seconds: float) -> str:
        done, rows = sum(self._bytes.values()), sum(self._rows.values())
        text = f"{rows:,} records at {rows / max(seconds, 0.001):,.0f}/s in all"
        if not self._total or not done:
            return text
        left = max(self._total - done, 0) * seconds / done
        return f"{text}, {min(done / self._total, 1):.0%} of {self._total:,} bytes, about {left:,.0f} s left"


class LandConfig(dg.Config):
    """What one landing run takes."""

    source: str = Field(description="Address of the source, as the dataset declares it.")
    files: list[str] = Field(description="Files to land, relative to the source's prefix.")
    share: int = Field(0, description="Which of the runs that share these files this is, from 0 on.")
    of: int = Field(1, ge=1, description="How many runs share these files.")
    bytes: int = Field(0, description="Size of all these files, to tell how much is left; 0 when it is not known.")


def landing_job_of(dataset: Dataset) -> dg.JobDefinition:
    """The job that lands files of a dataset; the sensor of files starts it, a person can too."""

    @dg.op(name=landing_op(dataset.name), pool=LANDING_POOL, description=f"Land files into {dataset.name}.")
    def land(context: dg.OpExecutionContext, config: LandConfig) -> None:
        land_files(context, dataset, config)

    does = f"Lands files into {dataset.name}: decode, validate, route, publish. Interrupted, it goes on where it was."
    return job_of_step(landing_job(dataset.name), land, dataset, description=does)


def land_files(context: dg.OpExecutionContext, dataset: Dataset, config: LandConfig) -> None:
    """Land the files of one run and report what became of them.

    Raises:
        dagster.Failure: the session could not do its work; a file that can't be read is no failure, it is quarantined.
    """
    with dataset_step("landing into", dataset, context.run_id) as warehouse:
        otherwise = f"dataset {dataset.name!r} watches no folder {config.source!r}; its file sources are"
        source = source_at(config.source, dataset.file_sources, otherwise=otherwise)
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


def _summarise(context: dg.OpExecutionContext, report: LandReport) -> None:
    for file in report.files:
        if file.state in ("quarantined", "rejected"):
            context.log.warning(f"{file.address} was {file.state}: {file.reason}")
    if sentence := unread_path_sentence(report):
        context.log.warning(sentence)
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
