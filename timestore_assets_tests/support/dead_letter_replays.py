"""What tests of dead letters and replays share: poison of many kinds, mended declarations, batches as topics give them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from timestore_assets.catalog.commit_values import Span
from timestore_assets.landing.committing.batch_commit import BatchCommit
from timestore_assets.landing.committing.source_batch import Origin
from timestore_assets.landing.dead_letters.replay import Replayer, ReplayReport, Selection
from timestore_assets.landing.landing_session import Worker
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.landing.topics.topic_batch import TopicBatch
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, Evolution, FileSource, KafkaSource
from timestore_assets.model.position import Position
from timestore_assets.model.schema import Checks, Schema
from timestore_assets.segments.engine import Engine
from timestore_assets.sources.batches import Batch, RecordMetadata
from timestore_assets_tests.support.landing_warehouse import START, LandingWarehouse, columns, dataset

FILES = FileSource(prefix="inbox", max_record_bytes=300)
TOPIC = KafkaSource(topics=("meters",), max_record_bytes=300, dead_letter_topic="meters-refused")
STRICT = dataset(
    *columns(n="int64?"),
    sources=(FILES, TOPIC),
    evolution=Evolution(columns="discard_row"),
    start=datetime(2013, 1, 2, tzinfo=UTC),
)
"""Refuses all of `POISON`."""

POISON: Mapping[str, bytes | None] = {
    "invalid_utf8": b'{"ts": "2013-02-01", "station": "\xff"}',
    "bad_value": b'{"ts": "2013-02-02", "station": "A", "n": 1.5}',
    "failed_check": b'{"ts": "2013-02-03", "station": "A", "temp": 400}',
    "missing_time": b'{"ts": null, "station": "A"}',
    "null_value": None,
    "duplicate_keys": b'{"ts": "2013-02-04", "station": "A", "station": "B"}',
    "not_an_object": b"[1, 2]",
    "out_of_range": b'{"ts": "2013-01-01T12:00:00Z", "station": "A"}',
    "unknown_column": b'{"ts": "2013-02-05", "station": "A", "extra": 7}',
    "non_finite": b'{"ts": "2013-02-06", "station": "A", "temp": "nan"}',
    "too_long": json.dumps({"ts": "2013-02-07", "station": "A" * 400}).encode(),
    "bad_json": b'{"ts": "2013-02-08", ',
}
"""A record for each reason; a file of lines can't hold the one without a value."""
MENDABLE = ("failed_check", "out_of_range", "unknown_column", "non_finite", "too_long")
"""Those that `mended` makes landable."""


def mended(declared: Dataset = STRICT) -> Dataset:
    """The declaration after somebody looked at the dead letters: no bounds, an earlier start, new columns, longer records."""
    changed = tuple(
        replace(column, checks=Checks(), allow_nan=True) if column.name == "temp" else column for column in declared.schema
    )
    sources = tuple(replace(source, max_record_bytes=10_000) for source in declared.sources)
    return replace(declared, schema=Schema(columns=changed), sources=sources, start=START, evolution=Evolution(columns="evolve"))


def lines_of(values: Sequence[bytes | None]) -> bytes:
    return b"".join(value + b"\n" for value in values if value is not None)


def replay(warehouse: LandingWarehouse, **selection: Any) -> ReplayReport:
    """Replay by the ground's dataset, at its time."""
    return Replayer(warehouse.context).replay(warehouse.dataset, Selection(**selection), actor="test")


@dataclass(frozen=True, kw_only=True)
class Message:
    """A record of a topic as the tests write it."""

    value: bytes | None
    partition: int = 0
    offset: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: datetime | None = None


def offsets(values: Sequence[bytes | None], *, partitions: int = 1) -> list[Message]:
    """Messages spread over partitions in turn."""
    return [Message(value=value, partition=at % partitions, offset=at // partitions) for at, value in enumerate(values)]


def topic_batch(messages: Sequence[Message], ids: Mapping[int, int]) -> Batch:
    """A batch as a session on topics makes it; `ids`: source partitions by number."""
    return Batch(
        encoding="json",
        records=pa.table({"value": pa.array([one.value for one in messages], pa.binary())}),
        positions=pa.array([one.offset for one in messages], pa.int64()),
        lines=None,
        bad=(),
        raw=lambda index: messages[index].value,
        source_partitions=pa.array([ids[one.partition] for one in messages], pa.int64()),
        envelope=lambda index: RecordMetadata(
            key=messages[index].key, headers=messages[index].headers, timestamp=messages[index].timestamp
        ),
    )


def land_topic(
    warehouse: LandingWarehouse, messages: Sequence[Message], *, source: KafkaSource = TOPIC, late_before: datetime | None = None
) -> Counters:
    """Land messages of the source's topic as one batch, from where its partitions stand."""
    record = warehouse.catalog.datasets.register(warehouse.dataset, actor="test")
    origin = warehouse.catalog.sources.ensure(record.id, source.kind, source.address)
    numbers = sorted({one.partition for one in messages})
    opened = warehouse.catalog.topics.open(
        origin.id, cluster_id="c", topic=source.topics[0], epoch=0, topic_id=None, starts=dict.fromkeys(numbers, 0)
    )
    places = {one.number: one for one in opened if one.number in numbers}
    session_id = warehouse.catalog.sessions.begin(record.id, "landing", holder="test", ttl=timedelta(minutes=1))
    warehouse.catalog.topics.assign(session_id, [one.id for one in places.values()])
    ends = {number: 1 + max(one.offset for one in messages if one.partition == number) for number in numbers}
    spans = tuple(
        Span(
            source_partition_id=places[number].id,
            start=Position(offset=places[number].position),
            end=Position(offset=ends[number]),
        )
        for number in numbers
    )
    with closing(Engine(warehouse.limits)) as engine:
        worker = Worker(
            engine=engine, validator=Validator(warehouse.dataset), memory_bytes=warehouse.limits.memory_bytes, threads=2
        )
        place = Origin(
            source_id=origin.id,
            address=source.address,
            session_id=session_id,
            actor="test",
            max_record_bytes=source.max_record_bytes,
            forwards=True,
        )
        batch = topic_batch(messages, {number: one.id for number, one in places.items()})
        given = TopicBatch(batch=batch, spans=spans, time=warehouse.dataset.time, until=warehouse.now, late_before=late_before)
        counters = BatchCommit(warehouse.context, worker, warehouse.dataset, place).land(given)
    warehouse.catalog.sessions.end(session_id)
    return counters
