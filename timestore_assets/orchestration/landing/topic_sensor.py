"""What the sensor of topics does with one source; `stream_plan` decides which sessions to ask for.

Lag and throughput become observations of the topics' assets, as numbers so that the UI plots them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from timestore_assets.landing.topics.backpressure import Thresholds, should_pause
from timestore_assets.model.contract import is_frozen
from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.dagster_names import (
    DATASET_TAG,
    SHARD_TAG,
    SOURCE_TAG,
    WORK_TAG,
    stream_job,
    stream_op,
    topic_key,
)
from timestore_assets.orchestration.landing.stream_plan import AtWork, SessionPlan, SessionPolicy, WantedSession, plan_sessions
from timestore_assets.orchestration.pools import set_stream_limit
from timestore_assets.orchestration.sweep import Tick
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka.lag import PartitionLag, SourceLag
from timestore_assets.sources.kafka.sharding import Shard, parse_shard

if TYPE_CHECKING:
    from timestore_assets.catalog.records import SourceRecord
    from timestore_assets.warehouse import Warehouse


PAUSE = timedelta(minutes=1)
"""Time between two observations of a topic: each is a row in Dagster's database for ever."""
_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicReading:
    """A topic at a moment."""

    end: int
    """Sum over its partitions, as `position`."""
    position: int
    lag: int
    rate: float | None = None
    """Offsets read per second since the last one."""


_ROUNDED = 0.001
"""Seconds to which the cursor keeps a time; it may have been rounded up."""


def observed(
    dataset: Dataset, lag: SourceLag, watermark: datetime | None, *, cursor: str | None, now: datetime
) -> tuple[Sequence[dg.AssetObservation], str | None]:
    """Observations of topics that changed since the last ones, at most one a minute each, and the next cursor."""
    before = _parsed(cursor)
    seconds = now.timestamp() - before.get("at", 0.0)
    if not lag.partitions or 0 <= seconds < PAUSE.total_seconds() - _ROUNDED:
        return (), cursor
    same = before.get("cluster") == lag.cluster_id
    last: dict[str, TopicReading] = (
        {name: TopicReading(**found) for name, found in before.get("topics", {}).items()} if same else {}
    )
    events, readings = [], {}
    for topic in dict.fromkeys(one.topic for one in lag.partitions):
        partitions = [one for one in lag.partitions if one.topic == topic]
        readings[topic] = _reading(partitions, last.get(topic), seconds)
        if readings[topic] != last.get(topic):
            events.append(_observation(dataset, topic, partitions, readings[topic], watermark))
    topics = {
        name: {"end": one.end, "position": one.position, "lag": one.lag, "rate": one.rate} for name, one in readings.items()
    }
    after = {"version": _VERSION, "cluster": lag.cluster_id, "at": round(now.timestamp(), 3), "topics": topics}
    return events, json.dumps(after)


def _reading(partitions: Sequence[PartitionLag], last: TopicReading | None, seconds: float) -> TopicReading:
    position = sum(one.position for one in partitions)
    return TopicReading(
        end=sum(one.high for one in partitions),
        position=position,
        lag=sum(one.lag for one in partitions),
        rate=None if last is None else round(max(0, position - last.position) / seconds, 1),
    )


def _observation(
    dataset: Dataset, topic: str, partitions: Sequence[PartitionLag], reading: TopicReading, watermark: datetime | None
) -> dg.AssetObservation:
    behind = sum(one.lag > 0 for one in partitions)
    metadata: dict[str, Any] = {
        "lag": reading.lag,
        "high_watermark": reading.end,
        "read_up_to": reading.position,
        "topic_partitions": len(partitions),
        "topic_partitions_behind": behind,
        "event": "lag_observed",
    }
    if reading.rate is not None:
        metadata["records_per_second"] = reading.rate
    if watermark is not None:
        metadata["watermark"] = dg.MetadataValue.timestamp(watermark)
    text = f"lag {reading.lag:,} in {behind} of {len(partitions)} topic partitions"
    return dg.AssetObservation(topic_key(dataset, topic), description=text, metadata=metadata)


def _parsed(cursor: str | None) -> dict[str, Any]:
    """The cursor, or nothing when it is absent or of another version."""
    if not cursor:
        return {}
    try:
        found = json.loads(cursor)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("version") == _VERSION else {}


BROKER_SECONDS = 1.5
"""How long a look waits for brokers; without them it comes to nothing within 2 s."""


def look(tick: Tick, dataset: Dataset, source: KafkaSource, cursor: str | None) -> dg.SensorResult:
    """One look: compare offsets, note them, and ask for the sessions that should begin."""
    warehouse = tick.warehouse
    _, record = warehouse.resolve(dataset.name)
    known = warehouse.catalog.sources.ensure(record.id, source.kind, source.address)
    try:
        lag = warehouse.lag(dataset.name, source, timeout_seconds=BROKER_SECONDS)
    except (UnavailableError, InputError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=cursor)
    events, cursor = observed(dataset, lag, known.watermark, cursor=cursor, now=datetime.now(UTC))
    tags = {DATASET_TAG: dataset.name, SOURCE_TAG: digest_of([source.address])}
    runs = tick.runs.live(warehouse.catalog, lambda run: tags.items() <= run.tags.items() and SHARD_TAG in run.tags)
    shards = [parse_shard(run.tags[SHARD_TAG]) for run in runs]
    lost = {(one.source_partition_id, one.start): one.accepted for one in warehouse.catalog.topics.lost_ranges(record.id)}
    plan = plan_sessions(lag, policy_of(source, warehouse.settings), AtWork(runs=shards, lost=lost))
    paused = _paused(warehouse, dataset, known, lag, shards) if known.paused or plan.wanted else ""
    if paused:
        return dg.SensorResult(skip_reason=f"landing is paused: {paused}", cursor=cursor, asset_events=events)
    requests, reason = _requests(tick.instance, warehouse, dataset, source, plan, tags)
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
    """Why no session should begin now. While one is alive it judges by itself, else nobody but this tick does.

    What stopped for the schema contract stays so until the declaration changes.
    """
    if is_frozen(known.paused):
        return known.paused
    if runs or any(one.held_by is not None for one in lag.partitions):
        return known.paused
    reason = should_pause(warehouse.backlog(dataset.name), Thresholds.of(warehouse.settings), paused=bool(known.paused))
    if reason != known.paused:
        warehouse.catalog.sources.pause(known.id, reason)
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
    wanted: WantedSession,
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
        job_name=stream_job(dataset.name),
        run_config={"ops": {stream_op(dataset.name): {"config": config}}},
        tags={**tags, SHARD_TAG: str(wanted.shard), WORK_TAG: digest},
    )


def _accepting(dataset: Dataset) -> str:
    accept = f"`timestore stream {dataset.name} --accept-lost-offsets`"
    return f"; take note of them with {accept}, or declare `on_lost_offsets: continue`"
