"""The sensor that follows topics. Which sessions to ask for is decided by `stream_plan`; here is only what Dagster adds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from timestore_assets.landing.backpressure import judge
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.liveness import live_runs
from timestore_assets.orchestration.names import DATASET_TAG, SHARD_TAG, SOURCE_TAG, WORK_TAG, stream_op, topic_sensor
from timestore_assets.orchestration.pools import set_stream_limit
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.stream_plan import AtWork, SessionPlan, SessionPolicy, Wanted, plan_sessions
from timestore_assets.orchestration.topic_observations import observed
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka.sharding import Shard, parse_shard

if TYPE_CHECKING:
    from timestore_assets.catalog.records import SourceRecord
    from timestore_assets.sources.kafka.lag import SourceLag
    from timestore_assets.warehouse import Warehouse

BROKER_SECONDS = 1.5
"""How long a tick waits for brokers; without them it skips within 2 s."""


def topic_sensor_of(dataset: Dataset, source: KafkaSource, job: dg.JobDefinition, settings: Settings) -> dg.SensorDefinition:
    """The sensor of one source; it is on by default."""

    @dg.sensor(
        name=topic_sensor(dataset, source),
        job=job,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Lands what is new in {', '.join(source.topics)} into {dataset.name}.",
        metadata={"topics": ", ".join(source.topics)},
    )
    def follow(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult:
        with warehouse.opened(dataset) as opened:
            return look(context, opened, dataset, source)

    return follow


def look(context: dg.SensorEvaluationContext, warehouse: Warehouse, dataset: Dataset, source: KafkaSource) -> dg.SensorResult:
    """One tick: compare offsets, note them, and ask for the sessions that should begin."""
    _, record = warehouse.resolve(dataset.name)
    known = warehouse.catalog.source(record.id, source.kind, source.address)
    try:
        lag = warehouse.lag(dataset.name, source, timeout_seconds=BROKER_SECONDS)
    except (UnavailableError, InputError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    events, cursor = observed(dataset, lag, known.watermark, cursor=context.cursor, now=datetime.now(UTC))
    tags = {DATASET_TAG: dataset.name, SOURCE_TAG: digest_of([source.address])}
    runs = live_runs(context.instance, warehouse.catalog, lambda run: tags.items() <= run.tags.items() and SHARD_TAG in run.tags)
    shards = [parse_shard(run.tags[SHARD_TAG]) for run in runs]
    lost = {(one.source_partition_id, one.start): one.accepted for one in warehouse.catalog.lost_ranges(record.id)}
    plan = plan_sessions(lag, policy_of(source, warehouse.settings), AtWork(runs=shards, lost=lost))
    paused = _paused(warehouse, dataset, known, lag, shards) if known.paused or plan.wanted else ""
    if paused:
        return dg.SensorResult(skip_reason=f"landing is paused: {paused}", cursor=cursor, asset_events=events)
    requests, reason = _requests(context.instance, warehouse, dataset, source, plan, tags)
    skipped = None if requests else reason
    return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=cursor, asset_events=events)


def policy_of(source: KafkaSource, settings: Settings) -> SessionPolicy:
    return SessionPolicy(
        shards=source.shards,
        lag_per_session=settings.stream_lag_per_session,
        most=settings.stream_sessions,
        skip_lost=source.on_lost_offsets == "continue",
        idle=min(source.idle, timedelta(seconds=settings.stream_session_seconds)),
    )


def _paused(warehouse: Warehouse, dataset: Dataset, known: SourceRecord, lag: SourceLag, runs: list[Shard]) -> str:
    """Why no session should begin now. While one is alive it judges by itself, else nobody but this tick does."""
    if runs or any(one.held_by is not None for one in lag.partitions):
        return known.paused
    reason = judge(warehouse.backlog(dataset.name), warehouse.settings.backlog_marks(), paused=bool(known.paused))
    if reason != known.paused:
        warehouse.catalog.pause(known.id, reason)
    return reason


def _requests(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    dataset: Dataset,
    source: KafkaSource,
    plan: SessionPlan,
    tags: dict[str, str],
) -> tuple[list[dg.RunRequest], str]:
    """The run requests of a plan, and why there are none."""
    if not plan.wanted:
        return [], plan.reason + (_accepting(dataset) if plan.blocked else "")
    set_stream_limit(instance, warehouse)
    found = [_request(instance, dataset, source, wanted, tags, warehouse.settings) for wanted in plan.wanted]
    return [one for one in found if isinstance(one, dg.RunRequest)], "; ".join(one for one in found if isinstance(one, str))


def _request(
    instance: dg.DagsterInstance,
    dataset: Dataset,
    source: KafkaSource,
    wanted: Wanted,
    tags: dict[str, str],
    settings: Settings,
) -> dg.RunRequest | str:
    """The request of one session, or why it has to wait: one from the same checkpoints has just ended."""
    digest = digest_of([dataset.name, source.address, str(wanted.shard), *wanted.checkpoints])
    tried = attempts(instance, WORK_TAG, digest)
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > datetime.now(UTC):
        return f"run {tried.last_run[:8]} of shard {wanted.shard} ended without progress; tried again at {due:%H:%M:%S} UTC"
    config = {"source": source.address, "shard": wanted.shard.index, "of": wanted.shard.of}
    return dg.RunRequest(
        run_key=f"{dataset.name}:{source.address[:100]}:{wanted.shard}:{digest}:{tried.count}",
        run_config={"ops": {stream_op(dataset.name): {"config": config}}},
        tags={**tags, SHARD_TAG: str(wanted.shard), WORK_TAG: digest},
    )


def _accepting(dataset: Dataset) -> str:
    accept = f"`timestore stream {dataset.name} --accept-lost-offsets`"
    return f"; take note of them with {accept}, or declare `on_lost_offsets: continue`"
