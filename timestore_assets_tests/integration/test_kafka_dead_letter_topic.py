"""Dead letters of a topic are produced to the topic that their source declares, at least once."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from timestore_assets.landing.dead_letters.dead_letter_topic import forward
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.sources.kafka import delivery
from timestore_assets_tests.support.dead_letter_replays import (
    MENDABLE,
    POISON,
    STRICT,
    TOPIC,
    land_topic,
    mended,
    offsets,
    replay,
)
from timestore_assets_tests.support.dead_letter_replays import Message as Written
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

pytestmark = REAL_KAFKA
Kafka = KafkaCluster | EmbeddedKafka
WAIT = 60.0
PARTITIONS = 4
AT = 1_369_000_000_123


@pytest.fixture
def source(any_kafka: Kafka) -> KafkaSource:
    """A source with topics of its own, which are there."""
    name = f"meters-{uuid.uuid4().hex[:8]}"
    for topic in (name, f"{name}-refused"):
        any_kafka.create_topic(topic, PARTITIONS)
    return replace(TOPIC, topics=(name,), dead_letter_topic=f"{name}-refused")


@pytest.fixture
def warehouse(source: KafkaSource, tmp_path: Path) -> Iterator[LandingWarehouse]:
    warehouse = LandingWarehouse.at(tmp_path, replace(STRICT, sources=(source,)))
    yield warehouse
    warehouse.catalog.close()


def forward_all(warehouse: LandingWarehouse, any_kafka: Kafka, **options: Any) -> int:
    (source,) = warehouse.dataset.kafka_sources
    return forward(warehouse.catalog, warehouse.storage, warehouse.record, source, any_kafka.client_config(), **options)


def consumed(any_kafka: Kafka, topic: str, number: int) -> list[Message]:
    """That many records of a topic, or those that come in time."""
    consumer = Consumer(any_kafka.client_config(group_id="reader", enable_auto_commit=False, auto_offset_reset="earliest"))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    try:
        found: list[Message] = []
        deadline = time.monotonic() + WAIT
        while len(found) < number and time.monotonic() < deadline:
            found += [one for one in consumer.consume(1000, 0.5) if one.error() is None]
        return found + consumer.consume(1000, 0.5)
    finally:
        consumer.close()


def test_refused_records_go_to_the_topic_with_where_they_were_and_why(warehouse: LandingWarehouse, any_kafka: Kafka) -> None:
    (source,) = warehouse.dataset.kafka_sources
    at = datetime.fromtimestamp(AT / 1000, UTC)
    messages = [
        replace(one, key=b"k%d" % one.offset, headers=(("h", b"\xff"), ("none", None)), timestamp=at)
        for one in offsets([*POISON.values()], partitions=2)
    ]
    land_topic(warehouse, messages, source=source)
    assert forward_all(warehouse, any_kafka) == len(POISON)
    found = consumed(any_kafka, source.dead_letter_topic or "", len(POISON))
    assert len(found) == len(POISON)
    by_code = {dict(one.headers() or [])["timestore.code"].decode(): one for one in found}
    for code, one in zip(POISON, messages, strict=True):
        sent = by_code[code]
        assert (sent.value(), sent.key()) == (one.value, one.key)
        headers = cast(list[tuple[str, bytes | None]], sent.headers())
        assert headers[:2] == [("h", b"\xff"), ("none", None)]
        about = dict(headers[2:])
        assert about.pop("timestore.reason")
        assert about == {
            "timestore.code": code.encode(),
            "timestore.topic": source.topics[0].encode(),
            "timestore.partition": b"%d" % one.partition,
            "timestore.offset": b"%d" % one.offset,
            "timestore.timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%f").encode() + b"Z",
        }
    assert forward_all(warehouse, any_kafka) == 0


def test_what_a_replay_has_landed_is_not_forwarded_and_what_it_left_is(warehouse: LandingWarehouse, any_kafka: Kafka) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([*POISON.values()]), source=source)
    fixed = warehouse.with_dataset(mended(warehouse.dataset))
    replay(fixed)
    rest = len(POISON) - len(MENDABLE)
    assert forward_all(fixed, any_kafka) == rest
    assert len(consumed(any_kafka, source.dead_letter_topic or "", rest)) == rest


def test_a_value_too_large_for_the_topic_goes_shortened(warehouse: LandingWarehouse, any_kafka: Kafka) -> None:
    (source,) = warehouse.dataset.kafka_sources
    # nothing that compression could make small enough
    values = [os.urandom(size) for size in (100, 3_000_000, 20_000_000, 200)]
    long_key = Written(value=b"x", offset=4, key=os.urandom(2_000_000), headers=(("h", b"h" * 2_000_000), ("short", b"1")))
    land_topic(warehouse, [*offsets(values), long_key], source=source)
    assert forward_all(warehouse, any_kafka) == 5
    found = consumed(any_kafka, source.dead_letter_topic or "", 5)
    sizes = sorted((len(one.value() or b""), "timestore.shortened" in dict(one.headers() or [])) for one in found)
    whole = [(100, False), (200, False)]
    if any_kafka.real:
        assert sizes == [(1, True), *whole, (65_536, True), (65_536, True)]
    else:
        # the mock cluster takes values of any size
        assert sizes == [(1, False), *whole, (65_536, True), (3_000_000, False)]


def test_more_than_the_producer_queues_at_once(
    warehouse: LandingWarehouse, any_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "QUEUED_KILOBYTES", 64)
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([b"[%d%s]" % (at, b" " * 250) for at in range(3000)]), source=source)
    assert forward_all(warehouse, any_kafka) == 3000
    found = consumed(any_kafka, source.dead_letter_topic or "", 3000)
    assert len({one.value() for one in found}) == len(found) == 3000


def test_brokers_that_are_gone_leave_them_marked(warehouse: LandingWarehouse, any_kafka: Kafka) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([b"[]", b"{}"]), source=source)
    with pytest.raises(UnavailableError, match="they stay marked"):
        forward(
            warehouse.catalog,
            warehouse.storage,
            warehouse.record,
            source,
            {"bootstrap.servers": "127.0.0.1:1"},
            timeout_seconds=1.0,
        )
    assert [file.forward for _, file, _ in warehouse.catalog.dead_letters.of(warehouse.record.id)] == [True]
    assert forward_all(warehouse, any_kafka) == 2


def test_a_file_whose_mark_was_not_taken_off_is_produced_again(
    warehouse: LandingWarehouse, any_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, [Written(value=b"[1]")], source=source)
    land_topic(warehouse, [Written(value=b"[2]", offset=1)], source=source)

    def gone(ids: Any) -> None:
        raise UnavailableError("the catalog is away")

    with monkeypatch.context() as broken:
        broken.setattr(warehouse.catalog.dead_letters, "forwarded", gone)
        with pytest.raises(UnavailableError):
            forward_all(warehouse, any_kafka)
    assert forward_all(warehouse, any_kafka) == 2
    found = consumed(any_kafka, source.dead_letter_topic or "", 3)
    assert sorted(one.value() or b"" for one in found) == [b"[1]", b"[1]", b"[2]"]


def test_sessions_at_once_leave_it_to_one_of_them(
    warehouse: LandingWarehouse, any_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([b"[1]", b"[2]"]), source=source)
    meanwhile: list[int] = []
    marked = warehouse.catalog.dead_letters.forwarded

    def other_first(ids: Any) -> None:
        meanwhile.append(forward_all(warehouse, any_kafka))
        marked(ids)

    monkeypatch.setattr(warehouse.catalog.dead_letters, "forwarded", other_first)
    assert forward_all(warehouse, any_kafka) == 2
    assert meanwhile == [0]
    assert len(consumed(any_kafka, source.dead_letter_topic or "", 2)) == 2


def test_settings_that_make_no_sense_are_told(warehouse: LandingWarehouse) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([b"[]"]), source=source)
    with pytest.raises(InputError, match="does not take its settings"):
        forward(
            warehouse.catalog, warehouse.storage, warehouse.record, source, {"bootstrap.servers": "127.0.0.1:1", "no.such": "1"}
        )


def test_a_source_without_such_a_topic_forwards_nothing(warehouse: LandingWarehouse) -> None:
    (source,) = warehouse.dataset.kafka_sources
    land_topic(warehouse, offsets([b"[]"]), source=source)
    silent = replace(source, dead_letter_topic=None)
    assert forward(warehouse.catalog, warehouse.storage, warehouse.record, silent, {"bootstrap.servers": "127.0.0.1:1"}) == 0
