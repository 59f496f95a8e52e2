"""The job that lands topics: one bounded session in a thread of its own, so that ending the run ends it behind a commit."""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from timestore_assets.landing.stream_report import SessionLimits, StreamReport
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.check_pace import CheckPace
from timestore_assets.orchestration.failures import failing
from timestore_assets.orchestration.liveness import run_lease
from timestore_assets.orchestration.names import DATASET_TAG, STREAM_POOL, stream_job, stream_op
from timestore_assets.orchestration.relay import drain
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.stream_words import LatestWords, summary
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.warehouse import Warehouse

_LOOK_SECONDS = 0.5
_SAY_SECONDS = 10.0
_END_SECONDS = 50.0
"""How long a cancelled run waits for its session: a commit takes seconds, and Dagster forces runs off after a minute."""


class StreamConfig(dg.Config):
    """What one session takes."""

    source: str = Field(description="Address of the source: its topics, separated by commas.")
    shard: int = Field(default=0, description="Which part of its topic partitions, from 0 on.")
    of: int = Field(default=1, description="How many parts there are.")


def stream_job_of(dataset: Dataset) -> dg.JobDefinition:
    """The job that lands a dataset's topics; the sensors that follow them start it, a person can too."""

    @dg.op(name=stream_op(dataset.name), pool=STREAM_POOL, description=f"Land topics into {dataset.name}.")
    def stream(context: dg.OpExecutionContext, config: StreamConfig, warehouse: WarehouseResource) -> None:
        stream_topics(context, dataset, config, warehouse)

    @dg.job(
        name=stream_job(dataset.name),
        description=f"Lands topics into {dataset.name} until it is caught up; data and offsets are committed together.",
        executor_def=dg.in_process_executor,
        tags={DATASET_TAG: dataset.name},
    )
    def job() -> None:
        stream()

    return job


def stream_topics(context: dg.OpExecutionContext, dataset: Dataset, config: StreamConfig, resource: WarehouseResource) -> None:
    """Run one session and say what it did; cancelling the run ends it behind the commit under way.

    Raises:
        dagster.Failure: the session could not do its work; what it committed stays.
    """
    with (
        failing(f"streaming into {dataset.name}"),
        resource.opened(dataset) as warehouse,
        run_lease(warehouse.catalog, context.run_id),
    ):
        source = _source(dataset, config.source)
        pace = CheckPace()
        report = _session(context, warehouse, dataset, source, Shard(index=config.shard, of=config.of), pace)
        summary(context.log, report)
        context.add_output_metadata(_metadata(report))
        drain(warehouse, context.instance, pace=pace)


def _session(
    context: dg.OpExecutionContext,
    warehouse: Warehouse,
    dataset: Dataset,
    source: KafkaSource,
    shard: Shard,
    pace: CheckPace,
) -> StreamReport:
    words, stop = LatestWords(), threading.Event()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="session") as thread:
        session = thread.submit(
            warehouse.stream,
            dataset.name,
            source,
            shard=shard,
            limits=_limits(source, warehouse.settings.stream_session_seconds),
            progress=words,
            stop=stop,
            actor=f"dagster run {context.run_id}",
        )
        try:
            _attend(context, warehouse, session, words, pace)
        except dg.DagsterExecutionInterruptedError:
            stop.set()
            wait([session], timeout=_END_SECONDS)
            if session.done() and session.exception() is None:
                summary(context.log, session.result())
            raise
        finally:
            stop.set()
        return session.result()


def _attend(
    context: dg.OpExecutionContext,
    warehouse: Warehouse,
    session: Future[StreamReport],
    words: LatestWords,
    pace: CheckPace,
) -> None:
    """Until the session is over, say how far it is and report to Dagster what it landed."""
    said, paused = time.monotonic(), ""
    while not wait([session], timeout=_LOOK_SECONDS).done:
        if words.paused and not paused:
            context.log.warning(f"landing is paused: {words.paused}")
        elif paused and not words.paused:
            context.log.info("landing goes on")
        paused = words.paused
        if time.monotonic() - said >= _SAY_SECONDS:
            said = time.monotonic()
            context.log.info(words.line())
            try:
                drain(warehouse, context.instance, pace=pace, at_once=False)
            except UnavailableError as error:
                context.log.warning(f"what landed is reported later: {error}")


def _limits(source: KafkaSource, seconds: int) -> SessionLimits:
    """It stays as long as topic partitions need to be known as idle, and takes what comes meanwhile."""
    longest = timedelta(seconds=seconds)
    return SessionLimits(until_caught_up=True, longest=longest, linger=min(source.idle, longest))


def _source(dataset: Dataset, address: str) -> KafkaSource:
    for source in dataset.kafka_sources:
        if source.address == address:
            return source
    known = "; ".join(source.address for source in dataset.kafka_sources) or "none"
    raise InputError(f"dataset {dataset.name!r} has no source with topics {address!r}; its topics are: {known}")


def _metadata(report: StreamReport) -> dict[str, Any]:
    counters = report.counters
    metadata: dict[str, Any] = {
        "read": counters.read,
        "landed": counters.landed,
        "duplicates": counters.duplicates,
        "late_dropped": counters.late_dropped,
        "held": counters.held,
        "dead_letters": counters.dead_letters,
        "partitions": len(report.partitions),
        "commits": report.commits,
        "lag": report.lag or 0,
        "manifest_version": report.manifest_version,
        "seconds": round(report.seconds, 3),
        "paused_seconds": round(report.paused_seconds, 3),
        "ended": report.reason,
    }
    if report.watermark is not None:
        metadata["watermark"] = dg.MetadataValue.timestamp(report.watermark)
    return metadata
