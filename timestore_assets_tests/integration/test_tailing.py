"""The hot buffer: a record is in the next answer, once, before, while and after it lands, whatever the brokers do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from confluent_kafka import Producer

from timestore_assets.model.dataset import Dedupe, KafkaSource, Late
from timestore_assets.model.errors import UnavailableError
from timestore_assets.model.question import Aggregate
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.tailing_warehouse import Tailing, tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import new_topic, value, wait_until

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka
JANUARY = datetime(2013, 1, 1, tzinfo=UTC)


def names(count: int, start: int = 0) -> list[str]:
    return [f"S{number}" for number in range(start, count)]


def values(count: int, start: int = 0, **how: Any) -> list[bytes | None]:
    return [value(number, **how) for number in range(start, count)]


@pytest.fixture(params=["embedded", "real"])
def each_kafka(request: pytest.FixtureRequest) -> Iterator[AnyKafka]:
    """Both kinds of brokers."""
    if request.param == "real":
        yield request.getfixturevalue("kafka")
    else:
        with EmbeddedKafka() as embedded:
            yield embedded


def test_records_are_seen_before_during_and_after_they_land(each_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, each_kafka)
    ground.produce(values(100))
    with ground.hot() as hot:
        found = hot.wait_for_state("ready")
        assert (found.streaming.fresh, found.streaming.merged_rows, found.streaming.warning) == (True, 100, "")
        assert found.values == names(100)
        ground.stream()
        found = hot.ask()
        assert (found.streaming.merged_rows, found.values) == (0, names(100))
        ground.produce(values(150, 100))
        found = hot.wait_for(150)
        assert (found.streaming.merged_rows, found.values) == (50, names(150))
        ground.build(close=True)
        found = hot.ask()
        assert (found.streaming.merged_rows, found.values) == (50, names(150))


def test_every_answer_has_each_record_once_while_all_goes_on(each_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, each_kafka)
    enough, produced = Event(), [0]

    def produce() -> None:
        while not enough.is_set():
            ground.produce(values(produced[0] + 40, produced[0]))
            produced[0] += 40

    def build() -> None:
        while not enough.is_set():
            ground.build()

    producer, builder = Thread(target=produce), Thread(target=build)
    with ground.hot() as hot, ground.running() as session:
        producer.start()
        builder.start()
        try:
            answers = merged = landed = seen = 0
            limit = time.monotonic() + 120
            while answers < 60 or min(merged, landed) < 10:
                assert time.monotonic() < limit, f"{answers} answers, {merged} with rows merged in, {landed} with landed ones"
                found = hot.ask()
                require_prefixes(found.values)
                assert len(found.values) >= seen
                seen, answers = len(found.values), answers + 1
                merged += found.streaming.merged_rows > 0
                landed += found.streaming.merged_rows < len(found.values)
        finally:
            enough.set()
            producer.join(60)
            builder.join(60)
        assert not producer.is_alive()
        assert not builder.is_alive()
        assert hot.wait_for(produced[0]).values == names(produced[0])
        session.wait_until_read(produced[0])  # it reads by itself, and stopping it ends it after the batch under way
    assert ground.stations() == names(produced[0])


def require_prefixes(stations: list[str]) -> None:
    """Of each topic partition the answer has the first so many records, none missing in between and none twice."""
    numbers = [int(name[1:]) for name in stations]
    for part in range(4):
        mine = sorted(number for number in numbers if number % 4 == part)
        assert mine == list(range(part, part + 4 * len(mine), 4))


def test_rows_with_equal_keys_are_one_whether_landed_or_not(any_kafka: AnyKafka, tmp_path: Path) -> None:
    declared = dataset(dedupe=Dedupe(keys=("station", "ts")))
    ground = tailing_warehouse(tmp_path, any_kafka, declared=declared)
    old, new = [json.dumps({"ts": "2013-01-01T00:00:00Z", "station": "a", "temp": temp}).encode() for temp in (1, 2)]
    ground.produce([old], partition=0)
    ground.stream()
    ground.build(close=True)
    with ground.hot() as hot:
        hot.wait_for_state("ready")
        ground.produce([new], partition=0)
        wait_until(lambda: hot.ask("temp").values == [2.0], "the newer one is shown")
        assert hot.ask("temp", where="temp < 2").values == []
        ground.produce([old], partition=0)
        wait_until(lambda: hot.ask("temp").values == [1.0], "the newest one is shown")
        ground.stream()
        assert hot.ask("temp").values == [1.0]


def test_ranges_filters_limits_and_buckets_hold_for_what_is_not_landed(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce(values(50))
    ground.stream()
    ground.produce([value(number, hour=24 * (number % 3)) for number in range(50, 110)])
    with ground.hot() as hot:
        hot.wait_for(110)
        day = hot.ask(start=JANUARY + timedelta(days=1), end=JANUARY + timedelta(days=2))
        assert day.values == [f"S{number}" for number in range(50, 110) if number % 3 == 1]
        assert day.streaming.merged_rows == 20
        assert hot.ask(where="station = 'S61'").values == ["S61"]
        assert hot.ask(limit=60).values == hot.ask().values[:60]
        counted = hot.ask("count", columns=None, every=timedelta(days=1), aggregates=(Aggregate(fn="count"),))
        assert counted.values == [70, 20, 20]


def test_what_landing_would_refuse_is_not_shown(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka, max_record_bytes=300)
    bad = [None, b"{", b'{"ts": "2013-01-01", "station": "x", "temp": 1000}', value(1, note="x" * 400), b'{"station": "a"}']
    ground.produce([value(1), *bad, value(2)], partition=1)
    with ground.hot() as hot:
        assert hot.wait_for(2).values == ["S1", "S2"]
        ground.stream()
        assert hot.ask().values == ["S1", "S2"]
        assert ground.counters().dead_letters == 5


def test_columns_that_evolution_finds_show_once_the_catalog_has_them(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce([value(0, wind=1)], partition=0)
    ground.stream()
    with ground.hot() as hot:
        hot.wait_for_state("ready")
        ground.produce([value(1, wind=2, gust="x"), value(2)], partition=0)
        assert hot.wait_for(3).streaming.merged_rows == 2
        assert hot.ask("wind").values == [1, 2, None]
        with pytest.raises(Exception, match="gust"):
            hot.ask("gust")
        ground.produce([value(3, gust="y")], partition=1)
        hot.wait_for(4)
        ground.stream()
        assert hot.ask("gust").values == [None, "x", None, "y"]
        ground.produce([value(4, wind=2.5)], partition=0)
        hot.wait_for(5)
        assert hot.ask("wind").values[:3] == [1, 2, None]
        ground.stream()
        assert hot.ask("wind").values == [1.0, 2.0, None, None, 2.5]


@pytest.mark.parametrize("policy", ["drop", "hold"])
def test_late_records_are_not_shown_where_they_do_not_land(any_kafka: AnyKafka, tmp_path: Path, policy: Any) -> None:
    declared = dataset(late=Late(policy=policy))
    ground = tailing_warehouse(tmp_path, any_kafka, declared=declared)
    ground.produce(values(4, hour=72))
    ground.stream()
    with ground.hot() as hot:
        hot.wait_for_state("ready")
        ground.produce([value(10), value(11, hour=73)], partition=0)
        found = hot.wait_for(5)
        assert sorted(found.values) == ["S0", "S1", "S11", "S2", "S3"]
        ground.stream()
        assert sorted(hot.ask().values) == ["S0", "S1", "S11", "S2", "S3"]


def test_the_watermark_moves_on_with_what_is_not_landed(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce(values(4))
    ground.stream()
    with ground.hot() as hot:
        hot.wait_for_state("ready")
        assert hot.ask().streaming.watermark == JANUARY
        ground.produce(values(8, 4, hour=1))
        assert hot.wait_for(8).streaming.watermark == JANUARY + timedelta(hours=1, seconds=4)
        ground.stream()
        assert hot.ask().streaming.watermark == JANUARY + timedelta(hours=1, seconds=4)


def test_a_full_buffer_holds_on_and_goes_on_when_landing_does(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    with ground.hot(hot_rows=50) as hot:
        ground.produce(values(80))
        hot.wait_for(50)
        ground.produce(values(200, 80))
        found = hot.wait_for_state("full")
        assert not found.streaming.fresh
        assert found.streaming.warning
        require_prefixes(found.values)
        assert len(found.values) < 200
        ground.stream()
        assert hot.wait_for_state("ready").values == names(200)


def test_an_older_version_gets_no_rows_merged(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce(values(8))
    ground.stream()
    ground.produce(values(16, 8))
    with ground.hot() as hot:
        hot.wait_for(16)
        found = hot.ask(as_of=ground.record.manifest_version)
        assert (found.values, found.streaming.buffer_state) == (names(8), "off")


def test_brokers_that_go_and_come_back(tmp_path: Path) -> None:
    with EmbeddedKafka() as first:
        ground = tailing_warehouse(tmp_path, first)
        ground.produce(values(8))
        ground.stream()
        ground.produce(values(16, 8))
        with ground.hot() as hot:
            hot.wait_for(16)
            leave(first)
            found = hot.wait_for_state("unavailable")
            assert found.values == names(8)
            assert (found.streaming.fresh, found.streaming.merged_rows) == (False, 0)
            assert "127.0.0.1" not in found.streaming.warning
            with ground.hot(hot_fallback="error") as strict:
                wait_until(lambda: refuses(strict), "it is an error")


def leave(broker: EmbeddedKafka) -> None:
    broker.__exit__()


def refuses(hot: Tailing) -> bool:
    try:
        hot.ask()
    except UnavailableError:
        return True
    return False


def test_a_node_that_is_killed_and_started_again(kafka_cluster: Any, tmp_path: Path) -> None:
    cluster = kafka_cluster(1)
    ground = tailing_warehouse(tmp_path, cluster)
    ground.produce(values(8))
    ground.stream()
    ground.produce(values(16, 8))
    with ground.hot() as hot:
        hot.wait_for(16)
        cluster.stop_node(1, kill=True)
        assert hot.wait_for_state("unavailable").values == names(8)
        cluster.start_node(1)
        hot.wait_for_state("ready")
        # a node that was killed shows what it has acknowledged before only some time after it is back
        assert hot.wait_for(16).values == names(16)
        ground.produce(values(24, 16))
        assert hot.wait_for(24).values == names(24)
        ground.stream()
        assert hot.ask().values == names(24)


def test_a_topic_made_again_is_read_from_its_beginning(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, kafka)
    ground.produce(values(40))
    ground.stream()
    with ground.hot() as hot:
        hot.wait_for_state("ready")
        kafka.delete_topic(ground.topics[0])
        kafka.create_topic(ground.topics[0], 4)
        ground.produce(values(60, 40))
        assert hot.wait_for(60).values == names(60)
        ground.stream()
        assert hot.wait_for_state("ready").values == names(60)


def test_partitions_that_a_topic_grows_are_read(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, kafka, partitions=2)
    ground.produce(values(8), partition=1)
    with ground.hot() as hot:
        hot.wait_for(8)
        kafka.grow(ground.topics[0], 4)
        ground.produce(values(16, 8), partition=3)
        assert sorted(hot.wait_for(16).values) == sorted(names(16))
        ground.stream()
        assert sorted(hot.ask().values) == sorted(names(16))


def test_records_of_aborted_transactions_are_never_shown(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, kafka)
    producer = Producer({**kafka.client_config(), "transactional.id": ground.topics[0]})
    producer.init_transactions(30)
    with ground.hot() as hot:
        for number in range(12):
            producer.begin_transaction()
            producer.produce(ground.topics[0], value(number), partition=0)
            producer.flush(30)
            (producer.commit_transaction if number % 3 else producer.abort_transaction)(30)
        kept = [f"S{number}" for number in range(12) if number % 3]
        found = hot.wait_for(len(kept))
        assert found.values == kept
        assert hot.wait_for_state("ready").values == kept
        ground.stream()
        assert hot.ask().values == kept
        assert hot.ask().streaming.merged_rows == 0


def test_two_sources_of_one_dataset(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    other = new_topic(any_kafka)
    ground.dataset = replace(ground.dataset, sources=(ground.kafka_source, KafkaSource(topics=(other,))))
    ground.produce(values(10))
    ground.produce(values(20, 10), topic=other)
    with ground.hot() as hot:
        assert hot.wait_for(20).values == names(20)
        ground.stream()
        found = hot.ask()
        assert (found.values, found.streaming.merged_rows) == (names(20), 10)
        assert [one.state for one in hot.buffers.states()] == ["ready", "ready"]


def test_tailing_ends_when_nobody_asks_and_begins_again(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce(values(8))
    with ground.hot(hot_seconds=1) as hot:
        hot.wait_for(8)
        assert len(hot.buffers.states()) == 1
        wait_until(lambda: not hot.buffers.states(), "it has ended")
        ground.produce(values(12, 8))
        assert hot.wait_for(12).values == names(12)


def test_a_dataset_without_topics_or_a_buffer_of_no_rows_is_not_tailed(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka)
    ground.produce(values(8))
    with ground.hot(hot_rows=0) as hot:
        assert (hot.ask().values, hot.buffers.states()) == ([], [])


def test_declared_columns_that_records_lack_are_null(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = tailing_warehouse(tmp_path, any_kafka, declared=dataset(*columns(n="int64?", tags="list<string>?")))
    ground.produce([value(0), value(1, n=7, tags=["a", "b"])], partition=0)
    with ground.hot() as hot:
        hot.wait_for(2)
        assert hot.ask("n").values == [None, 7]
        assert hot.ask("tags").values == [None, ["a", "b"]]
