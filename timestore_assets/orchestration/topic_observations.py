"""Lag and throughput of topics as observations of their assets, as numbers so that the UI plots them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.orchestration.names import topic_key
from timestore_assets.sources.kafka.lag import PartitionLag, SourceLag

PAUSE = timedelta(minutes=1)
"""Time between two observations of a topic: each is a row in Dagster's database for ever."""
_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A topic at a moment. `end`, `position`: sums over its partitions. `rate`: offsets read per second since the last one."""

    end: int
    position: int
    lag: int
    rate: float | None = None


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
    last: dict[str, Reading] = {name: Reading(**found) for name, found in before.get("topics", {}).items()} if same else {}
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


def _reading(partitions: Sequence[PartitionLag], last: Reading | None, seconds: float) -> Reading:
    position = sum(one.position for one in partitions)
    return Reading(
        end=sum(one.high for one in partitions),
        position=position,
        lag=sum(one.lag for one in partitions),
        rate=None if last is None else round(max(0, position - last.position) / seconds, 1),
    )


def _observation(
    dataset: Dataset, topic: str, partitions: Sequence[PartitionLag], reading: Reading, watermark: datetime | None
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
