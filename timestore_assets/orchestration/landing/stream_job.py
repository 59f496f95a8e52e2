"""The job that lands topics: one bounded session in a thread of its own, so that ending the run ends it behind a commit.

What the session says goes into the run's log.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from timestore_assets.landing.topics.session_options import SessionLimits, StreamReport
from timestore_assets.model.counters import NO_COUNTS, Counters
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import UnavailableError
from timestore_assets.orchestration.checks.checks import CheckPace
from timestore_assets.orchestration.dagster_names import STREAM_POOL, stream_job, stream_op
from timestore_assets.orchestration.dataset_step import dataset_step, job_of_step, source_at
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.warehouse import Warehouse


@dataclass(kw_only=True)
class LatestWords:
    """The session's progress, written by its thread and read by the run's. Implements `StreamProgress`."""

    counters: Counters = NO_COUNTS
    lag: int | None = None
    paused: str = ""
    _said: int = 0
    _since: float = field(default_factory=time.monotonic)

    def committed(self, counters: Counters, lag: int | None, paused: str) -> None:
        self.counters, self.lag, self.paused = counters, lag, paused

    def line(self) -> str:
        """How far it is, and how quick it was since the last line."""
        now, read = time.monotonic(), self.counters.read
        rate = (read - self._said) / max(now - self._since, 0.001)
        self._said, self._since = read, now
        text = f"landed {self.counters.landed:,} of {read:,} read, {rate:,.0f}/s"
        if self.counters.dead_letters:
            text += f", dead letters {self.counters.dead_letters:,}"
        if self.lag is not None:
            text += f", lag {self.lag:,}"
        return f"{text}; paused: {self.paused}" if self.paused else text


def summary(log: dg.DagsterLogManager, report: StreamReport) -> None:
    """What the session did, why it ended, and what a person has to know."""
    counters = report.counters
    log.info(
        f"read {counters.read:,}, landed {counters.landed:,}, duplicates {counters.duplicates:,}, "
        f"dead letters {counters.dead_letters:,} in {report.commits:,} commits and {report.seconds:.1f} s; {report.reason}"
    )
    for lost in report.lost:
        log.warning(
            f"{lost.reason} ({lost.start:,} up to {lost.end:,}); nothing more of {lost.topic}/{lost.number} is landed until "
            f"`timestore stream {report.dataset} --accept-lost-offsets`, or `on_lost_offsets: continue` in the declaration"
        )
    for topic in report.missing_topics:
        log.warning(f"topic {topic} does not exist on this cluster")
    if report.paused_seconds:
        log.info(f"it was paused for {report.paused_seconds:.1f} s")


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
    """The job that lands a dataset's topics; the sensor of topics starts it, a person can too."""

    @dg.op(name=stream_op(dataset.name), pool=STREAM_POOL, description=f"Land topics into {dataset.name}.")
    def stream(context: dg.OpExecutionContext, config: StreamConfig) -> None:
        stream_topics(context, dataset, config)

    does = f"Lands topics into {dataset.name} until it is caught up; data and offsets are committed together."
    return job_of_step(stream_job(dataset.name), stream, dataset, description=does)


def stream_topics(context: dg.OpExecutionContext, dataset: Dataset, config: StreamConfig) -> None:
    """Run one session and say what it did; cancelling the run ends it behind the commit under way.

    Raises:
        dagster.Failure: the session could not do its work; what it committed stays.
    """
    with dataset_step("streaming into", dataset, context.run_id) as warehouse:
        otherwise = f"dataset {dataset.name!r} has no source with topics {config.source!r}; its topics are"
        source = source_at(config.source, dataset.kafka_sources, otherwise=otherwise)
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


def _metadata(report: StreamReport) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        **dict(report.counters.items()),
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
