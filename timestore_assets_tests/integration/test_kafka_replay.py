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

from timestore_assets.landing.dead_letters.replay import ReplayReport
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dead_letter_replays import MENDABLE, POISON, STRICT, TOPIC, mended
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

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
def landing_warehouse(declared: Dataset, tmp_path: Path) -> Iterator[LandingWarehouse]:
    landing_warehouse = LandingWarehouse.at(tmp_path, declared)
    yield landing_warehouse
    landing_warehouse.catalog.close()


def warehouse(landing_warehouse: LandingWarehouse, any_kafka: Kafka) -> Warehouse:
    settings = Settings(home=landing_warehouse.root, kafka_bootstrap_servers=any_kafka.bootstrap)
    return Warehouse(
        settings,
        catalog=landing_warehouse.catalog,
        storage=landing_warehouse.storage,
        datasets={landing_warehouse.dataset.name: landing_warehouse.dataset},
    )


def stream(landing_warehouse: LandingWarehouse, any_kafka: Kafka) -> Counters:
    (source,) = landing_warehouse.dataset.kafka_sources
    return warehouse(landing_warehouse, any_kafka).stream(landing_warehouse.dataset.name, source).counters


def replayed(landing_warehouse: LandingWarehouse, any_kafka: Kafka) -> ReplayReport:
    return warehouse(landing_warehouse, any_kafka).replay(landing_warehouse.dataset.name)


def poisoned() -> list[tuple[str, bytes | None]]:
    """Reason code and value of every record, mixed."""
    good = [("", json.dumps({"ts": f"2013-03-{at % 28 + 1:02}", "station": f"s{at}"}).encode()) for at in range(GOOD)]
    records = [*good, *list(POISON.items()) * EACH]
    random.Random(7).shuffle(records)
    return records


def test_a_stream_with_poison(landing_warehouse: LandingWarehouse, any_kafka: Kafka) -> None:
    (source,) = landing_warehouse.dataset.kafka_sources
    records = poisoned()
    sent = [(at % PARTITIONS, b"k%d" % at, value, list(HEADERS), AT + at) for at, (_, value) in enumerate(records)]
    offsets = produce(any_kafka.bootstrap, source.topics[0], sent)
    bad = EACH * len(POISON)
    assert stream(landing_warehouse, any_kafka) == Counters(read=len(records), landed=GOOD, dead_letters=bad)
    numbers = {
        one.id: one.number
        for one in landing_warehouse.catalog.topics.partitions(
            landing_warehouse.catalog.sources.of(landing_warehouse.record.id)[0].id
        )
    }
    places = {(at % PARTITIONS, offsets[at % PARTITIONS][at // PARTITIONS]): at for at in range(len(records))}
    letters = landing_warehouse.letters()
    assert len(letters) == bad
    for letter in letters:
        at = places[numbers[letter.source_partition or 0], letter.position]
        assert (letter.code, letter.raw) == records[at]
        assert (letter.key, letter.headers) == (b"k%d" % at, HEADERS)
        assert letter.timestamp is not None
        assert round(letter.timestamp.timestamp() * 1000) == AT + at
        assert letter.timestamp.utcoffset() == timedelta(0)
    fixed = landing_warehouse.with_dataset(mended(landing_warehouse.dataset))
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


def test_records_that_come_while_the_replay_is_prepared_are_no_matter(
    landing_warehouse: LandingWarehouse, any_kafka: Kafka
) -> None:
    (source,) = landing_warehouse.dataset.kafka_sources
    poison = [(0, None, POISON["failed_check"], None, None)]
    produce(any_kafka.bootstrap, source.topics[0], poison)
    stream(landing_warehouse, any_kafka)
    fixed = landing_warehouse.with_dataset(mended(landing_warehouse.dataset))
    produce(any_kafka.bootstrap, source.topics[0], poison * 2)
    assert stream(fixed, any_kafka) == Counters(read=2, landed=2)
    assert replayed(fixed, any_kafka).landed == 1
    assert fixed.rows("ts", "temp") == [(datetime(2013, 2, 3), 400.0)] * 3
    assert sorted(position for _, position in fixed.places()) == [0, 1, 2]
