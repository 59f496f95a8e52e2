"""Landing sessions on topics: everything lands once, from the catalog's checkpoints, whatever the brokers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.dataset import FlushPolicy, Late
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka.kafka_client import connection_of
from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.sources.kafka.topic_reader import FetchedMessages, TopicReader
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, new_topic, topic_warehouse, value, with_source

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka


def names(count: int, start: int = 0) -> list[str]:
    return [f"S{number}" for number in range(start, count)]


def values(count: int, start: int = 0, **how: Any) -> list[bytes | None]:
    return [value(number, **how) for number in range(start, count)]


def test_everything_lands_once(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(500))
    report = warehouse.stream()
    assert (report.ending, report.lag) == ("caught_up", 0)
    assert warehouse.stations() == names(500)
    assert (warehouse.counters().read, warehouse.counters().landed) == (500, 500)
    assert sum(warehouse.positions().values()) == 500
    again = warehouse.stream()
    assert (again.ending, again.counters.read, again.commits) == ("caught_up", 0, 0)


def test_a_session_goes_on_from_the_catalog_not_the_group(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(40))
    warehouse.stream()
    consumer = Consumer({**any_kafka.client_config(), "group.id": f"group-{warehouse.topics[0]}"})
    places = [TopicPartition(warehouse.topics[0], number) for number in range(4)]
    shown = {one.partition: one.offset for one in consumer.committed(places, timeout=10)}
    assert shown == warehouse.positions() == dict.fromkeys(range(4), 10)
    consumer.commit(offsets=[TopicPartition(warehouse.topics[0], number, 0) for number in range(4)], asynchronous=False)
    consumer.close()
    warehouse.produce(values(60, 40))
    assert warehouse.stream().counters.read == 20
    assert warehouse.stations() == names(60)


def test_every_bad_record_is_kept_as_it_came(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka, max_record_bytes=200)
    good, long = value(1), value(2, note="x" * 300)
    wrong: list[tuple[bytes | None, str]] = [
        (None, "null_value"),
        (b"\xff\xfe", "bad_json"),
        (b'{"ts": "2013-01-01", "station": "a", "temp": "warm"}', "bad_value"),
        (b'{"station": "a"}', "missing_value"),
        (long, "too_long"),
    ]
    headers: list[tuple[str, bytes | str | None]] = [("trace", b"\x00\x01"), ("empty", None)]
    made = [(2, b"key", one, headers, 1_700_000_000_123) for one in (good, *(raw for raw, _ in wrong))]
    produce(any_kafka.bootstrap, warehouse.topics[0], made)
    report = warehouse.stream()
    assert (report.counters.landed, report.counters.dead_letters, report.lag) == (1, 5, 0)
    letters = warehouse.letters()
    assert [(one.raw, one.position) for one in letters] == [(raw, at) for at, (raw, _) in enumerate(wrong, 1)]
    assert len({one.code for one in letters}) == 5, [one.code for one in letters]
    assert {one.key for one in letters} == {b"key"}
    assert letters[0].headers == (("trace", b"\x00\x01"), ("empty", None))
    assert {one.timestamp for one in letters} == {datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)}
    assert warehouse.counters().balanced


def test_a_topic_list_is_one_source(any_kafka: AnyKafka, tmp_path: Path) -> None:
    one, other = new_topic(any_kafka), new_topic(any_kafka)
    warehouse = topic_warehouse(tmp_path, any_kafka, one, other, "not-there-at-all")
    warehouse.produce(values(20), topic=one)
    warehouse.produce(values(40, 20), topic=other)
    report = warehouse.stream()
    assert report.missing_topics == ("not-there-at-all",)
    assert warehouse.stations() == names(40)
    assert len(warehouse.places_of_topics()) == 8


def test_start_latest_reads_only_what_comes_after(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka, start="latest")
    warehouse.produce(values(20))
    assert warehouse.stream().counters.read == 0
    warehouse.produce(values(30, 20))
    warehouse.stream()
    assert warehouse.stations() == names(30, 20)


def test_start_at_a_time(kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka, start=datetime(2013, 1, 1, 0, 0, 15, tzinfo=UTC))
    first = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000)
    made = [(number % 3, None, value(number), None, first + number * 1000) for number in range(30)]
    produce(kafka.bootstrap, warehouse.topics[0], made)
    warehouse.stream()
    assert warehouse.stations() == names(30, 15)
    produce(kafka.bootstrap, warehouse.topics[0], [(3, None, value(30), None, first)])
    warehouse.stream()
    assert warehouse.stations() == names(31, 15)  # an empty partition begins with what comes


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_codecs(codec: str, any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    produce(any_kafka.bootstrap, warehouse.topics[0], [(0, None, one, None, None) for one in values(300)], compression_type=codec)
    warehouse.stream()
    assert warehouse.stations() == names(300)


@pytest.mark.parametrize("partitions", [1, 12])
def test_numbers_of_partitions(partitions: int, kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, partitions))
    made = [(number % partitions, None, one, None, None) for number, one in enumerate(values(120))]
    produce(kafka.bootstrap, warehouse.topics[0], made)
    warehouse.stream()
    assert warehouse.stations() == names(120)
    assert len(warehouse.positions()) == partitions


def test_what_is_read_lands_by_age_when_nothing_follows(any_kafka: AnyKafka, tmp_path: Path) -> None:
    flush = FlushPolicy(rows=1_000_000, age=timedelta(milliseconds=300))
    warehouse = topic_warehouse(tmp_path, any_kafka, flush=flush)
    warehouse.produce(values(1), partition=1)
    with warehouse.running() as session:
        session.wait_until_read(1, seconds=10)
        warehouse.produce(values(2, 1), partition=1)
        session.wait_until_read(2, seconds=10)
    assert session.report is not None
    assert session.report.ending == "stopped"


def test_transactions(kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 2))
    producer = Producer({**kafka.client_config(), "transactional.id": f"tx-{warehouse.topics[0]}"})
    producer.init_transactions(30)
    number = 0
    for committed in (True, False, True, False):
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(warehouse.topics[0], value(number if committed else 1000 + number), partition=number % 2)
            number += 1
        assert producer.flush(30) == 0
        (producer.commit_transaction if committed else producer.abort_transaction)(30)
    report = warehouse.stream()
    # the topic ends with aborted records and markers, and the checkpoints are behind them
    assert (report.ending, report.lag, report.counters.read) == ("caught_up", 0, 20)
    assert warehouse.stations() == [*names(10), *names(30, 20)]
    assert sum(warehouse.positions().values()) == 48
    producer.begin_transaction()
    producer.produce(warehouse.topics[0], value(7000), partition=0)
    assert producer.flush(30) == 0
    assert warehouse.stream().counters.read == 0  # not committed yet
    producer.commit_transaction(30)
    assert warehouse.stream().counters.read == 1


def test_gaps_of_a_compacted_topic(kafka: KafkaCluster, tmp_path: Path) -> None:
    config = {"cleanup_policy": "compact", "segment_ms": "100", "min_cleanable_dirty_ratio": "0.01"}
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 1, **config))
    produce(kafka.bootstrap, warehouse.topics[0], [(0, b"same", one, None, None) for one in values(20)])
    report = warehouse.stream()
    assert report.lag == 0
    assert warehouse.positions() == {0: 20}
    assert warehouse.counters().read == len(warehouse.stations())
    assert "S19" in warehouse.stations()


def test_a_running_session_reads_partitions_that_a_topic_grows(
    kafka: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestore_assets.landing.topics.stream_loop._LOOK_SECONDS", 0.3)
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 1), start="latest")
    with warehouse.running() as session:
        session.wait_until(lambda: len(warehouse.places_of_topics()) == 1, "it has begun")
        kafka.grow(warehouse.topics[0], 3)
        warehouse.produce(values(10), partition=2)
        warehouse.produce(values(20, 10), partition=0)
        session.wait_until_read(20)
    assert warehouse.stations() == names(20)


def test_offsets_lost_stop_that_partition_until_accepted(kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka)
    warehouse.produce(values(40))
    warehouse.stream(limits=SessionLimits())
    warehouse.produce(values(80, 40))
    kafka.admin.delete_records([TopicPartition(warehouse.topics[0], 0, 15)])[TopicPartition(warehouse.topics[0], 0)].result(30)
    report = warehouse.stream()
    assert [(one.number, one.start, one.end, one.skipped) for one in report.lost] == [(0, 10, 15, False)]
    assert report.counters.read == 30  # the other partitions go on
    assert warehouse.positions()[0] == 10
    assert warehouse.stream().ending == "caught_up"
    assert len(warehouse.audited("offsets_lost")) == 1
    assert warehouse.catalog.topics.accept_lost(warehouse.record.id, actor="a person") == 1
    assert warehouse.stream().counters.read == 5
    assert warehouse.positions() == dict.fromkeys(range(4), 20)
    assert len(warehouse.audited("lost_offsets_skipped")) == 1
    assert [one.skipped for one in warehouse.catalog.topics.lost_ranges(warehouse.record.id)] == [True]


def test_lost_offsets_are_skipped_by_policy_and_told(kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 1), on_lost_offsets="continue")
    warehouse.produce(values(10), partition=0)
    warehouse.stream()
    warehouse.produce(values(30, 10), partition=0)
    kafka.admin.delete_records([TopicPartition(warehouse.topics[0], 0, 25)])[TopicPartition(warehouse.topics[0], 0)].result(30)
    report = warehouse.stream()
    assert (report.ending, report.counters.read, report.lost) == ("caught_up", 5, ())
    assert warehouse.stations() == [*names(10), *names(30, 25)]
    assert [(one.start, one.end) for one in warehouse.catalog.topics.lost_ranges(warehouse.record.id)] == [(10, 25)]


def test_trimmed_by_the_embedded_broker(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker:
        warehouse = topic_warehouse(tmp_path, broker, on_lost_offsets="continue")
        warehouse.produce(values(1), partition=0)
        warehouse.stream()
        warehouse.produce([value(1, note="x" * 500_000)] * 30, partition=0)
        report = warehouse.stream()
        (lost,) = warehouse.catalog.topics.lost_ranges(warehouse.record.id)
        assert (lost.start, lost.skipped) == (1, True)
        assert report.counters.read == 31 - lost.end
        assert (report.ending, warehouse.positions()[0]) == ("caught_up", 31)


def test_a_topic_made_again_is_read_from_its_beginning(kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 2))
    warehouse.produce(values(10), partition=0)
    warehouse.stream()
    kafka.delete_topic(warehouse.topics[0])
    kafka.create_topic(warehouse.topics[0], 2)
    warehouse.produce(values(30, 10), partition=0)  # more than before: the end alone tells nothing
    assert warehouse.stream().counters.read == 20
    assert warehouse.stations() == names(30)
    assert {one.epoch for one in warehouse.places_of_topics()} == {2}
    assert len(warehouse.audited("topic_began_anew")) == 1


@pytest.mark.parametrize("look_seconds", [0.3, 3600])
def test_a_topic_made_again_under_a_running_session(
    look_seconds: float, kafka: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes on at its offset in the new topic, which has more records than the old one: none of them lands twice."""
    monkeypatch.setattr("timestore_assets.landing.topics.stream_loop._LOOK_SECONDS", look_seconds)
    # another topic, so that the session goes on while this one is away
    warehouse = topic_warehouse(tmp_path, kafka, new_topic(kafka, 2), new_topic(kafka, 1))
    warehouse.produce(values(10), partition=0)
    with warehouse.running() as session:
        session.wait_until_read(10)
        kafka.delete_topic(warehouse.topics[0])
        kafka.create_topic(warehouse.topics[0], 2)
        warehouse.produce(values(40, 10), partition=0)
        session.wait_until_read(40)
        warehouse.produce(values(45, 40), partition=0)
        session.wait_until_read(45)
    assert warehouse.stations() == names(45)
    assert warehouse.counters().read == 45


def test_a_wrong_alarm_about_a_topic_costs_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    """One broker knows less than another: what was read is read again."""
    warehouse = topic_warehouse(tmp_path, kafka, flush=FlushPolicy(rows=10, age=timedelta(milliseconds=50)))
    warehouse.produce(values(100))
    topics = Mistaken(warehouse.connection(), warehouse.kafka_source, group="mistaken")
    assert warehouse.stream(topics=topics).ending == "caught_up"
    assert topics.asked > 10
    assert warehouse.stations() == names(100)


class Mistaken(KafkaTopics):
    """Tells another topic id at every third question."""

    asked = 0

    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]:
        self.asked += 1
        return (lambda: dict.fromkeys(topics, "another")) if self.asked % 3 == 0 else super().ask_ids(topics)


def test_two_sessions_on_one_shard(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(100))
    with warehouse.running() as session:
        session.wait_until_read(100)
        assert warehouse.stream().ending == "held_elsewhere"
    assert warehouse.stations() == names(100)


def test_shards_share_a_topic(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(100))
    assert [warehouse.stream(shard=Shard(index=index, of=3)).counters.read for index in range(3)] == [50, 25, 25]
    assert warehouse.stations() == names(100)


@pytest.mark.parametrize("successor_lives", [True, False])
def test_a_zombie_loses_without_a_duplicate(
    successor_lives: bool, any_kafka: AnyKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has expired, another session has landed what it has read, and perhaps ended; then it wakes up and commits."""
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(40))
    with ExitStack() as stack:

        def succeed() -> None:
            if successor_lives:
                stack.enter_context(warehouse.running()).wait_until_read(40)
            else:
                assert warehouse.stream().counters.read == 40
            warehouse.produce(values(60, 40))

        with monkeypatch.context() as frozen:
            frozen.setattr("timestore_assets.catalog.lease_keeper.LeaseKeeper.keep", lambda _, held: held)
            zombie = warehouse.streamer(ttl=timedelta(microseconds=1))
            topics = Interrupted(warehouse, succeed)
            # its successor has a heart again
            topics.before.append(frozen.undo)
            report = warehouse.stream(streamer=zombie, topics=topics)
    assert (report.ending, report.counters.read) == ("overtaken", 0)
    warehouse.stream()
    assert warehouse.stations() == names(60)
    assert warehouse.counters().read == warehouse.counters().landed == 60


class Interrupted(KafkaTopics):
    """Topics whose reader lets something happen between the reading of the first records and their landing."""

    def __init__(self, warehouse: TopicWarehouse, happen: Callable[[], None]) -> None:
        super().__init__(warehouse.connection(), warehouse.kafka_source, group="interrupted")
        self.before: list[Callable[[], None]] = []
        self._happen = happen

    def reader(self) -> TopicReader:
        found = super().reader()
        take = found.take

        def late(timeout: float) -> FetchedMessages | None:
            fetched = take(timeout)
            if fetched is not None and fetched.delivered:
                while self.before:
                    self.before.pop()()
                happen, self._happen = self._happen, lambda: None
                happen()
            return fetched

        found.take = late  # type: ignore[method-assign] # what the class is for
        return found


def test_late_records_by_policy(any_kafka: AnyKafka, tmp_path: Path) -> None:
    for number, (policy, landed) in enumerate((("drop", 8), ("hold", 8), ("correct", 9))):
        declared = dataset(late=Late(policy=policy, allowed=timedelta(hours=1)))
        warehouse = topic_warehouse(tmp_path / str(number), any_kafka, dataset=declared)
        warehouse.produce(values(4, hour=1))
        warehouse.produce(values(8, 4, hour=26))
        warehouse.stream()
        assert warehouse.known.watermark == datetime(2013, 1, 2, 2, 0, 4, tzinfo=UTC)
        warehouse.produce([value(8, hour=3)], partition=0)
        report = warehouse.stream()
        assert warehouse.counters().landed == landed
        assert (report.counters.late_dropped, report.counters.held) == (policy == "drop", policy == "hold")
        assert warehouse.codes() == ([] if policy == "correct" else ["late"])


def test_the_watermark_waits_for_a_partition_that_never_had_a_record_until_it_is_idle(
    any_kafka: AnyKafka, tmp_path: Path
) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka, idle=timedelta(seconds=60))
    warehouse.produce(values(4, hour=1), partition=0)
    ticks = [0.0]
    warehouse.streamer_options["monotonic"] = lambda: ticks[0]
    warehouse.stream()
    assert warehouse.known.watermark is None
    with warehouse.running() as session:
        warehouse.produce(values(5, 4, hour=5), partition=0)
        session.wait_until_read(5)
        ticks[0] = 59.0
        warehouse.produce(values(6, 5, hour=5), partition=0)
        session.wait_until_read(6)
        assert warehouse.known.watermark is None
        ticks[0] = 61.0
        warehouse.produce(values(7, 6, hour=6), partition=0)
        session.wait_until(lambda: warehouse.known.watermark == datetime(2013, 1, 1, 6, 0, 6, tzinfo=UTC), "the watermark")


@pytest.mark.parametrize("shard", [Shard(index=0, of=4), Shard()])
def test_a_partition_that_was_idle_and_has_a_backlog_holds_the_watermark(
    shard: Shard, any_kafka: AnyKafka, tmp_path: Path
) -> None:
    """I6: what lies there unread may be of any time, whether this session is to read it or another."""
    warehouse = topic_warehouse(tmp_path, any_kafka, idle=timedelta(seconds=60))
    ticks = [0.0]
    warehouse.streamer_options["monotonic"] = lambda: ticks[0]
    warehouse.produce(values(4, hour=1))
    with warehouse.running() as session:
        session.wait_until_read(4)
        session.wait_until(lambda: all(one.position for one in warehouse.places_of_topics()), "all are read")
        ticks[0] = 61.0
        session.wait_until(lambda: all(one.quiet.seconds for one in warehouse.places_of_topics()), "all are idle")
    warehouse.produce(values(5, 4, hour=2), partition=1)
    warehouse.produce([value(5, hour=50), value(6, hour=51)], partition=0)
    quiet: list[float] = []

    def look() -> None:
        quiet.extend(one.quiet.total_seconds() for one in warehouse.places_of_topics())

    warehouse.stream(shard=shard, topics=Interrupted(warehouse, look))
    # before the first of these records lands, the catalog no longer takes their partitions for idle
    assert [one >= 60 for one in quiet] == [False, shard.of == 4, True, True]
    assert warehouse.counters().read == (6 if shard.of == 4 else 7)
    assert warehouse.known.watermark is not None
    assert warehouse.known.watermark <= datetime(2013, 1, 1, 2, 0, 4, tzinfo=UTC)
    warehouse.stream()
    warehouse.produce([value(7, hour=52)], partition=0)
    warehouse.stream()
    assert warehouse.known.watermark == datetime(2013, 1, 1, 2, 0, 4, tzinfo=UTC)


def test_a_clock_from_the_future_moves_nothing(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka)
    warehouse.produce(values(4, hour=1))
    warehouse.produce(
        [value(number, hour=(warehouse.now - datetime(2013, 1, 1, tzinfo=UTC)).days * 24 + 5) for number in range(4)]
    )
    warehouse.stream()
    assert warehouse.counters().landed == 8
    assert warehouse.known.watermark == datetime(2013, 1, 1, 1, 0, 0, tzinfo=UTC)


def test_an_unknown_topic_is_one_sentence(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka, "nobody-made-this")
    with pytest.raises(InputError, match=r"no topic of 'weather' exists on this cluster: nobody-made-this"):
        warehouse.stream()


def test_a_wrong_port_is_one_sentence_in_bounded_time(any_kafka: AnyKafka, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, any_kafka, "any")
    warehouse.client["bootstrap.servers"] = "127.0.0.1:9"
    with pytest.raises(UnavailableError, match=r"Kafka brokers 127\.0\.0\.1:9 failed"):
        warehouse.stream()


def test_no_cluster_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no Kafka cluster is configured: set TIMESTORE_KAFKA_BOOTSTRAP_SERVERS or run"):
        connection_of(Settings(home=tmp_path, kafka_bootstrap_servers=None))


def test_a_client_that_delivers_nothing_any_more_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.landing.topics.stream_loop._LOOK_SECONDS", 0.2)
    monkeypatch.setattr("timestore_assets.sources.kafka.topic_reader._STALLED_SECONDS", 1.0)
    read, silent, is_silent = TopicReader._read, Event(), Event()
    readers: list[TopicReader] = []

    def silenced(reader: TopicReader, into: FetchedMessages) -> None:
        if reader not in readers:
            readers.append(reader)
        if reader is readers[0] and silent.is_set():
            is_silent.set()
            time.sleep(0.01)
        else:
            read(reader, into)

    monkeypatch.setattr(TopicReader, "_read", silenced)
    with EmbeddedKafka() as broker:
        warehouse = topic_warehouse(tmp_path, broker)
        warehouse.produce(values(40))
        with warehouse.running() as session:
            session.wait_until_read(40)
            time.sleep(1.5)  # with nothing to read it is silent for good reason
            assert len(readers) == 1
            silent.set()
            assert is_silent.wait(30)
            warehouse.produce(values(80, 40))
            session.wait_until_read(80)
    assert len(readers) == 2
    assert warehouse.stations() == names(80)


def test_a_restarted_broker_is_waited_for(kafka_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.landing.topics.stream_loop._LOOK_SECONDS", 0.5)
    cluster = kafka_cluster(1)
    warehouse = topic_warehouse(tmp_path, cluster)
    warehouse.produce(values(40))
    with warehouse.running() as session:
        session.wait_until_read(40)
        for start in (40, 80):
            cluster.stop_node(1, kill=start == 40)
            cluster.start_node(1)
            warehouse.produce(values(start + 40, start))
            session.wait_until_read(start + 40, seconds=60)
    assert warehouse.stations() == names(120)
    assert {one.epoch for one in warehouse.places_of_topics()} == {1}


def test_brokers_that_stay_away_end_the_session(kafka_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.landing.topics.stream_loop._LOOK_SECONDS", 0.2)
    cluster = kafka_cluster(1)
    warehouse = topic_warehouse(tmp_path, cluster)
    warehouse.streamer_options["unreachable_seconds"] = 1.0
    warehouse.produce(values(4))
    with pytest.raises(UnavailableError, match="failed"), warehouse.running() as session:
        session.wait_until_read(4)
        cluster.stop_node(1, kill=True)
        session.thread.join(40)
    assert warehouse.stations() == names(4)


def test_secured_clusters(secured_kafka: KafkaCluster, tmp_path: Path) -> None:
    warehouse = topic_warehouse(tmp_path, secured_kafka)
    warehouse.produce(values(40))
    warehouse.stream()
    assert warehouse.stations() == names(40)
    secret = secured_kafka.client_config().get("sasl.password")
    if secret is None:
        return  # with TLS it is the broker that proves itself
    wrong = with_source(warehouse)
    wrong.client["sasl.password"] = "not the-password"
    with pytest.raises(InputError) as caught:
        wrong.stream()
    assert "TIMESTORE_KAFKA" in str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(warehouse.connection())):
        assert secret not in text
        assert "not the-password" not in text
    assert secret.encode() not in (tmp_path / "catalog.db").read_bytes()
