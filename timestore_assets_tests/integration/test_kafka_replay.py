"""A stream with 1 % poison through real sessions: nothing stops, counts are exact, a replay lands what can be landed, once."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.records import Counters
from timestore_assets.landing.replay import ReplayReport
from timestore_assets.model.dataset import Dataset
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.kafka_ground import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.landing_ground import Ground
from timestore_assets_tests.replay_ground import MENDABLE, POISON, STRICT, TOPIC, mended

pytestmark = REAL_KAFKA
Kafka = KafkaCluster | EmbeddedKafka
PARTITIONS = 4
AT = 1_369_000_000_123
EACH = 8
GOOD = 99 * EACH * len(POISON)
HEADERS = (("h", b"\xff"), ("none", None))


@pytest.fixture
def declared(any_kafka: Kafka) -> Dataset:
    """A dataset with a topic of its own, which is there."""
    topic = f"meters-{uuid.uuid4().hex[:8]}"
    any_kafka.create_topic(topic, PARTITIONS)
    return replace(STRICT, sources=(replace(TOPIC, topics=(topic,), dead_letter_topic=None),))


@pytest.fixture
def ground(declared: Dataset, tmp_path: Path) -> Iterator[Ground]:
    ground = Ground.at(tmp_path, declared)
    yield ground
    ground.catalog.close()


def warehouse(ground: Ground, any_kafka: Kafka) -> Warehouse:
    settings = Settings(home=ground.root, kafka_bootstrap_servers=any_kafka.bootstrap)
    return Warehouse(settings, catalog=ground.catalog, storage=ground.storage, datasets={ground.dataset.name: ground.dataset})


def stream(ground: Ground, any_kafka: Kafka) -> Counters:
    (source,) = ground.dataset.kafka_sources
    return warehouse(ground, any_kafka).stream(ground.dataset.name, source).counters


def replayed(ground: Ground, any_kafka: Kafka) -> ReplayReport:
    return warehouse(ground, any_kafka).replay(ground.dataset.name)


def poisoned() -> list[tuple[str, bytes | None]]:
    """Reason code and value of every record, mixed."""
    good = [("", json.dumps({"ts": f"2013-03-{at % 28 + 1:02}", "station": f"s{at}"}).encode()) for at in range(GOOD)]
    records = [*good, *list(POISON.items()) * EACH]
    random.Random(7).shuffle(records)
    return records


def test_a_stream_with_poison(ground: Ground, any_kafka: Kafka) -> None:
    (source,) = ground.dataset.kafka_sources
    records = poisoned()
    sent = [(at % PARTITIONS, b"k%d" % at, value, list(HEADERS), AT + at) for at, (_, value) in enumerate(records)]
    offsets = produce(any_kafka.bootstrap, source.topics[0], sent)
    bad = EACH * len(POISON)
    assert stream(ground, any_kafka) == Counters(read=len(records), landed=GOOD, dead_letters=bad)
    numbers = {one.id: one.number for one in ground.catalog.topic_partitions(ground.catalog.sources(ground.record.id)[0].id)}
    places = {(at % PARTITIONS, offsets[at % PARTITIONS][at // PARTITIONS]): at for at in range(len(records))}
    letters = ground.letters()
    assert len(letters) == bad
    for letter in letters:
        at = places[numbers[letter.source_partition or 0], letter.position]
        assert (letter.code, letter.raw) == records[at]
        assert (letter.key, letter.headers) == (b"k%d" % at, HEADERS)
        assert letter.timestamp is not None
        assert round(letter.timestamp.timestamp() * 1000) == AT + at
        assert letter.timestamp.utcoffset() == timedelta(0)
    fixed = ground.with_dataset(mended(ground.dataset))
    report = replayed(fixed, any_kafka)
    assert report.landed == EACH * len(MENDABLE)
    assert report.reasons == {code: EACH for code in POISON if code not in MENDABLE}
    assert replayed(fixed, any_kafka).landed == 0
    assert stream(fixed, any_kafka) == Counters()
    found = {(numbers[source_id], position) for source_id, position in fixed.places()}
    assert found == {place for place, at in places.items() if records[at][0] in ("", *MENDABLE)}
    landed = GOOD + EACH * len(MENDABLE)
    assert fixed.counters() == Counters(read=len(records), landed=landed, dead_letters=len(records) - landed)
    assert len(fixed.rows()) == landed


def test_records_that_come_while_the_replay_is_prepared_are_no_matter(ground: Ground, any_kafka: Kafka) -> None:
    (source,) = ground.dataset.kafka_sources
    poison = [(0, None, POISON["failed_check"], None, None)]
    produce(any_kafka.bootstrap, source.topics[0], poison)
    stream(ground, any_kafka)
    fixed = ground.with_dataset(mended(ground.dataset))
    produce(any_kafka.bootstrap, source.topics[0], poison * 2)
    assert stream(fixed, any_kafka) == Counters(read=2, landed=2)
    assert replayed(fixed, any_kafka).landed == 1
    assert fixed.rows("ts", "temp") == [(datetime(2013, 2, 3), 400.0)] * 3
    assert sorted(position for _, position in fixed.places()) == [0, 1, 2]
