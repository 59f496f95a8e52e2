"""Landing sessions on topics: everything lands once, from the catalog's checkpoints, whatever the brokers do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from timestore_assets.landing.stream_report import SessionLimits
from timestore_assets.model.dataset import FlushPolicy, Late
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka.client import connection_of
from timestore_assets.sources.kafka.reader import Fetched, TopicReader
from timestore_assets.sources.kafka.sharding import Shard
from timestore_assets.sources.kafka.topics import KafkaTopics
from timestore_assets_tests.kafka_ground import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.landing_ground import dataset
from timestore_assets_tests.stream_ground import StreamGround, new_topic, stream_ground, value, with_source

pytestmark = REAL_KAFKA
AnyKafka = KafkaCluster | EmbeddedKafka


def names(count: int, start: int = 0) -> list[str]:
    return [f"S{number}" for number in range(start, count)]


def values(count: int, start: int = 0, **how: Any) -> list[bytes | None]:
    return [value(number, **how) for number in range(start, count)]


def test_everything_lands_once(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(500))
    report = ground.stream()
    assert (report.ending, report.lag) == ("caught_up", 0)
    assert ground.stations() == names(500)
    assert (ground.counters().read, ground.counters().landed) == (500, 500)
    assert sum(ground.positions().values()) == 500
    again = ground.stream()
    assert (again.ending, again.counters.read, again.commits) == ("caught_up", 0, 0)


def test_a_session_goes_on_from_the_catalog_not_the_group(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(40))
    ground.stream()
    consumer = Consumer({**any_kafka.client_config(), "group.id": f"group-{ground.topics[0]}"})
    places = [TopicPartition(ground.topics[0], number) for number in range(4)]
    shown = {one.partition: one.offset for one in consumer.committed(places, timeout=10)}
    assert shown == ground.positions() == dict.fromkeys(range(4), 10)
    consumer.commit(offsets=[TopicPartition(ground.topics[0], number, 0) for number in range(4)], asynchronous=False)
    consumer.close()
    ground.produce(values(60, 40))
    assert ground.stream().counters.read == 20
    assert ground.stations() == names(60)


def test_every_bad_record_is_kept_as_it_came(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka, max_record_bytes=200)
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
    produce(any_kafka.bootstrap, ground.topics[0], made)
    report = ground.stream()
    assert (report.counters.landed, report.counters.dead_letters, report.lag) == (1, 5, 0)
    letters = ground.letters()
    assert [(one.raw, one.position) for one in letters] == [(raw, at) for at, (raw, _) in enumerate(wrong, 1)]
    assert len({one.code for one in letters}) == 5, [one.code for one in letters]
    assert {one.key for one in letters} == {b"key"}
    assert letters[0].headers == (("trace", b"\x00\x01"), ("empty", None))
    assert {one.timestamp for one in letters} == {datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)}
    assert ground.counters().balanced


def test_a_topic_list_is_one_source(any_kafka: AnyKafka, tmp_path: Path) -> None:
    one, other = new_topic(any_kafka), new_topic(any_kafka)
    ground = stream_ground(tmp_path, any_kafka, one, other, "not-there-at-all")
    ground.produce(values(20), topic=one)
    ground.produce(values(40, 20), topic=other)
    report = ground.stream()
    assert report.missing_topics == ("not-there-at-all",)
    assert ground.stations() == names(40)
    assert len(ground.places_of_topics()) == 8


def test_start_latest_reads_only_what_comes_after(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka, start="latest")
    ground.produce(values(20))
    assert ground.stream().counters.read == 0
    ground.produce(values(30, 20))
    ground.stream()
    assert ground.stations() == names(30, 20)


def test_start_at_a_time(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka, start=datetime(2013, 1, 1, 0, 0, 15, tzinfo=UTC))
    first = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000)
    made = [(number % 3, None, value(number), None, first + number * 1000) for number in range(30)]
    produce(kafka.bootstrap, ground.topics[0], made)
    ground.stream()
    assert ground.stations() == names(30, 15)
    produce(kafka.bootstrap, ground.topics[0], [(3, None, value(30), None, first)])
    ground.stream()
    assert ground.stations() == names(31, 15)  # an empty partition begins with what comes


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_codecs(codec: str, any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    produce(any_kafka.bootstrap, ground.topics[0], [(0, None, one, None, None) for one in values(300)], compression_type=codec)
    ground.stream()
    assert ground.stations() == names(300)


@pytest.mark.parametrize("partitions", [1, 12])
def test_numbers_of_partitions(partitions: int, kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, partitions))
    made = [(number % partitions, None, one, None, None) for number, one in enumerate(values(120))]
    produce(kafka.bootstrap, ground.topics[0], made)
    ground.stream()
    assert ground.stations() == names(120)
    assert len(ground.positions()) == partitions


def test_what_is_read_lands_by_age_when_nothing_follows(any_kafka: AnyKafka, tmp_path: Path) -> None:
    flush = FlushPolicy(rows=1_000_000, age=timedelta(milliseconds=300))
    ground = stream_ground(tmp_path, any_kafka, flush=flush)
    ground.produce(values(1), partition=1)
    with ground.running() as session:
        session.wait_until_read(1, seconds=10)
        ground.produce(values(2, 1), partition=1)
        session.wait_until_read(2, seconds=10)
    assert session.report is not None
    assert session.report.ending == "stopped"


def test_transactions(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 2))
    producer = Producer({**kafka.client_config(), "transactional.id": f"tx-{ground.topics[0]}"})
    producer.init_transactions(30)
    number = 0
    for committed in (True, False, True, False):
        producer.begin_transaction()
        for _ in range(10):
            producer.produce(ground.topics[0], value(number if committed else 1000 + number), partition=number % 2)
            number += 1
        assert producer.flush(30) == 0
        (producer.commit_transaction if committed else producer.abort_transaction)(30)
    report = ground.stream()
    # the topic ends with aborted records and markers, and the checkpoints are behind them
    assert (report.ending, report.lag, report.counters.read) == ("caught_up", 0, 20)
    assert ground.stations() == [*names(10), *names(30, 20)]
    assert sum(ground.positions().values()) == 48
    producer.begin_transaction()
    producer.produce(ground.topics[0], value(7000), partition=0)
    assert producer.flush(30) == 0
    assert ground.stream().counters.read == 0  # not committed yet
    producer.commit_transaction(30)
    assert ground.stream().counters.read == 1


def test_gaps_of_a_compacted_topic(kafka: KafkaCluster, tmp_path: Path) -> None:
    config = {"cleanup_policy": "compact", "segment_ms": "100", "min_cleanable_dirty_ratio": "0.01"}
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 1, **config))
    produce(kafka.bootstrap, ground.topics[0], [(0, b"same", one, None, None) for one in values(20)])
    report = ground.stream()
    assert report.lag == 0
    assert ground.positions() == {0: 20}
    assert ground.counters().read == len(ground.stations())
    assert "S19" in ground.stations()


def test_a_running_session_reads_partitions_that_a_topic_grows(
    kafka: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestore_assets.landing.stream_loop._LOOK_SECONDS", 0.3)
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 1), start="latest")
    with ground.running() as session:
        session.wait_until(lambda: len(ground.places_of_topics()) == 1, "it has begun")
        kafka.grow(ground.topics[0], 3)
        ground.produce(values(10), partition=2)
        ground.produce(values(20, 10), partition=0)
        session.wait_until_read(20)
    assert ground.stations() == names(20)


def test_offsets_lost_stop_that_partition_until_accepted(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka)
    ground.produce(values(40))
    ground.stream(limits=SessionLimits())
    ground.produce(values(80, 40))
    kafka.admin.delete_records([TopicPartition(ground.topics[0], 0, 15)])[TopicPartition(ground.topics[0], 0)].result(30)
    report = ground.stream()
    assert [(one.number, one.start, one.end, one.skipped) for one in report.lost] == [(0, 10, 15, False)]
    assert report.counters.read == 30  # the other partitions go on
    assert ground.positions()[0] == 10
    assert ground.stream().ending == "caught_up"
    assert len(ground.audited("offsets_lost")) == 1
    assert ground.catalog.accept_lost(ground.record.id, actor="a person") == 1
    assert ground.stream().counters.read == 5
    assert ground.positions() == dict.fromkeys(range(4), 20)
    assert len(ground.audited("lost_offsets_skipped")) == 1
    assert [one.skipped for one in ground.catalog.lost_ranges(ground.record.id)] == [True]


def test_lost_offsets_are_skipped_by_policy_and_told(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 1), on_lost_offsets="continue")
    ground.produce(values(10), partition=0)
    ground.stream()
    ground.produce(values(30, 10), partition=0)
    kafka.admin.delete_records([TopicPartition(ground.topics[0], 0, 25)])[TopicPartition(ground.topics[0], 0)].result(30)
    report = ground.stream()
    assert (report.ending, report.counters.read, report.lost) == ("caught_up", 5, ())
    assert ground.stations() == [*names(10), *names(30, 25)]
    assert [(one.start, one.end) for one in ground.catalog.lost_ranges(ground.record.id)] == [(10, 25)]


def test_trimmed_by_the_embedded_broker(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker:
        ground = stream_ground(tmp_path, broker, on_lost_offsets="continue")
        ground.produce(values(1), partition=0)
        ground.stream()
        ground.produce([value(1, note="x" * 500_000)] * 30, partition=0)
        report = ground.stream()
        (lost,) = ground.catalog.lost_ranges(ground.record.id)
        assert (lost.start, lost.skipped) == (1, True)
        assert report.counters.read == 31 - lost.end
        assert (report.ending, ground.positions()[0]) == ("caught_up", 31)


def test_a_topic_made_again_is_read_from_its_beginning(kafka: KafkaCluster, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 2))
    ground.produce(values(10), partition=0)
    ground.stream()
    kafka.delete_topic(ground.topics[0])
    kafka.create_topic(ground.topics[0], 2)
    ground.produce(values(30, 10), partition=0)  # more than before: the end alone tells nothing
    assert ground.stream().counters.read == 20
    assert ground.stations() == names(30)
    assert {one.epoch for one in ground.places_of_topics()} == {2}
    assert len(ground.audited("topic_began_anew")) == 1


@pytest.mark.parametrize("look_seconds", [0.3, 3600])
def test_a_topic_made_again_under_a_running_session(
    look_seconds: float, kafka: KafkaCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes on at its offset in the new topic, which has more records than the old one: none of them lands twice."""
    monkeypatch.setattr("timestore_assets.landing.stream_loop._LOOK_SECONDS", look_seconds)
    # another topic, so that the session goes on while this one is away
    ground = stream_ground(tmp_path, kafka, new_topic(kafka, 2), new_topic(kafka, 1))
    ground.produce(values(10), partition=0)
    with ground.running() as session:
        session.wait_until_read(10)
        kafka.delete_topic(ground.topics[0])
        kafka.create_topic(ground.topics[0], 2)
        ground.produce(values(40, 10), partition=0)
        session.wait_until_read(40)
        ground.produce(values(45, 40), partition=0)
        session.wait_until_read(45)
    assert ground.stations() == names(45)
    assert ground.counters().read == 45


def test_a_wrong_alarm_about_a_topic_costs_nothing(kafka: KafkaCluster, tmp_path: Path) -> None:
    """One broker knows less than another: what was read is read again."""
    ground = stream_ground(tmp_path, kafka, flush=FlushPolicy(rows=10, age=timedelta(milliseconds=50)))
    ground.produce(values(100))
    topics = Mistaken(ground.connection(), ground.kafka_source, group="mistaken")
    assert ground.stream(topics=topics).ending == "caught_up"
    assert topics.asked > 10
    assert ground.stations() == names(100)


class Mistaken(KafkaTopics):
    """Tells another topic id at every third question."""

    asked = 0

    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]:
        self.asked += 1
        return (lambda: dict.fromkeys(topics, "another")) if self.asked % 3 == 0 else super().ask_ids(topics)


def test_two_sessions_on_one_shard(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(100))
    with ground.running() as session:
        session.wait_until_read(100)
        assert ground.stream().ending == "held_elsewhere"
    assert ground.stations() == names(100)


def test_shards_share_a_topic(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(100))
    assert [ground.stream(shard=Shard(index=index, of=3)).counters.read for index in range(3)] == [50, 25, 25]
    assert ground.stations() == names(100)


@pytest.mark.parametrize("successor_lives", [True, False])
def test_a_zombie_loses_without_a_duplicate(
    successor_lives: bool, any_kafka: AnyKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has expired, another session has landed what it has read, and perhaps ended; then it wakes up and commits."""
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(40))
    with ExitStack() as stack:

        def succeed() -> None:
            if successor_lives:
                stack.enter_context(ground.running()).wait_until_read(40)
            else:
                assert ground.stream().counters.read == 40
            ground.produce(values(60, 40))

        with monkeypatch.context() as frozen:
            frozen.setattr("timestore_assets.landing.working.kept_alive", lambda *_, **__: nullcontext())
            zombie = ground.streamer(ttl=timedelta(microseconds=1))
            topics = Interrupted(ground, succeed)
            # its successor has a heart again
            topics.before.append(frozen.undo)
            report = ground.stream(streamer=zombie, topics=topics)
    assert (report.ending, report.counters.read) == ("overtaken", 0)
    ground.stream()
    assert ground.stations() == names(60)
    assert ground.counters().read == ground.counters().landed == 60


class Interrupted(KafkaTopics):
    """Topics whose reader lets something happen between the reading of the first records and their landing."""

    def __init__(self, ground: StreamGround, happen: Callable[[], None]) -> None:
        super().__init__(ground.connection(), ground.kafka_source, group="interrupted")
        self.before: list[Callable[[], None]] = []
        self._happen = happen

    def reader(self) -> TopicReader:
        found = super().reader()
        take = found.take

        def late(timeout: float) -> Fetched | None:
            fetched = take(timeout)
            if fetched is not None and fetched.delivered:
                while self.before:
                    self.before.pop()()
                happen, self._happen = self._happen, lambda: None
                happen()
            return fetched

        found.take = late  # type: ignore[method-assign]
        return found


def test_late_records_by_policy(any_kafka: AnyKafka, tmp_path: Path) -> None:
    for number, (policy, landed) in enumerate((("drop", 8), ("hold", 8), ("correct", 9))):
        declared = dataset(late=Late(policy=policy, allowed=timedelta(hours=1)))  # type: ignore[arg-type]
        ground = stream_ground(tmp_path / str(number), any_kafka, dataset=declared)
        ground.produce(values(4, hour=1))
        ground.produce(values(8, 4, hour=26))
        ground.stream()
        assert ground.known.watermark == datetime(2013, 1, 2, 2, 0, 4, tzinfo=UTC)
        ground.produce([value(8, hour=3)], partition=0)
        report = ground.stream()
        assert ground.counters().landed == landed
        assert (report.counters.late_dropped, report.counters.held) == (policy == "drop", policy == "hold")
        assert ground.codes() == ([] if policy == "correct" else ["late"])


def test_the_watermark_waits_for_a_partition_that_never_had_a_record_until_it_is_idle(
    any_kafka: AnyKafka, tmp_path: Path
) -> None:
    ground = stream_ground(tmp_path, any_kafka, idle=timedelta(seconds=60))
    ground.produce(values(4, hour=1), partition=0)
    ticks = [0.0]
    ground.streamer_options["monotonic"] = lambda: ticks[0]
    ground.stream()
    assert ground.known.watermark is None
    with ground.running() as session:
        ground.produce(values(5, 4, hour=5), partition=0)
        session.wait_until_read(5)
        ticks[0] = 59.0
        ground.produce(values(6, 5, hour=5), partition=0)
        session.wait_until_read(6)
        assert ground.known.watermark is None
        ticks[0] = 61.0
        ground.produce(values(7, 6, hour=6), partition=0)
        session.wait_until(lambda: ground.known.watermark == datetime(2013, 1, 1, 6, 0, 6, tzinfo=UTC), "the watermark")


@pytest.mark.parametrize("shard", [Shard(index=0, of=4), Shard()])
def test_a_partition_that_was_idle_and_has_a_backlog_holds_the_watermark(
    shard: Shard, any_kafka: AnyKafka, tmp_path: Path
) -> None:
    """I6: what lies there unread may be of any time, whether this session is to read it or another."""
    ground = stream_ground(tmp_path, any_kafka, idle=timedelta(seconds=60))
    ticks = [0.0]
    ground.streamer_options["monotonic"] = lambda: ticks[0]
    ground.produce(values(4, hour=1))
    with ground.running() as session:
        session.wait_until_read(4)
        session.wait_until(lambda: all(one.position for one in ground.places_of_topics()), "all are read")
        ticks[0] = 61.0
        session.wait_until(lambda: all(one.quiet.seconds for one in ground.places_of_topics()), "all are idle")
    ground.produce(values(5, 4, hour=2), partition=1)
    ground.produce([value(5, hour=50), value(6, hour=51)], partition=0)
    quiet: list[float] = []
    look = lambda: quiet.extend(one.quiet.total_seconds() for one in ground.places_of_topics())  # noqa: E731
    ground.stream(shard=shard, topics=Interrupted(ground, look))
    # before the first of these records lands, the catalog no longer takes their partitions for idle
    assert [one >= 60 for one in quiet] == [False, shard.of == 4, True, True]
    assert ground.counters().read == (6 if shard.of == 4 else 7)
    assert ground.known.watermark is not None
    assert ground.known.watermark <= datetime(2013, 1, 1, 2, 0, 4, tzinfo=UTC)
    ground.stream()
    ground.produce([value(7, hour=52)], partition=0)
    ground.stream()
    assert ground.known.watermark == datetime(2013, 1, 1, 2, 0, 4, tzinfo=UTC)


def test_a_clock_from_the_future_moves_nothing(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka)
    ground.produce(values(4, hour=1))
    ground.produce([value(number, hour=(ground.now - datetime(2013, 1, 1, tzinfo=UTC)).days * 24 + 5) for number in range(4)])
    ground.stream()
    assert ground.counters().landed == 8
    assert ground.known.watermark == datetime(2013, 1, 1, 1, 0, 0, tzinfo=UTC)


def test_an_unknown_topic_is_one_sentence(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka, "nobody-made-this")
    with pytest.raises(InputError, match=r"no topic of 'weather' exists on this cluster: nobody-made-this"):
        ground.stream()


def test_a_wrong_port_is_one_sentence_in_bounded_time(any_kafka: AnyKafka, tmp_path: Path) -> None:
    ground = stream_ground(tmp_path, any_kafka, "any")
    ground.client["bootstrap.servers"] = "127.0.0.1:9"
    with pytest.raises(UnavailableError, match=r"Kafka brokers 127\.0\.0\.1:9 failed"):
        ground.stream()


def test_no_cluster_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no Kafka cluster is configured: set TIMESTORE_KAFKA_BOOTSTRAP_SERVERS or run"):
        connection_of(Settings(home=tmp_path, kafka_bootstrap_servers=None))


def test_a_restarted_broker_is_waited_for(kafka_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.landing.stream_loop._LOOK_SECONDS", 0.5)
    cluster = kafka_cluster(1)
    ground = stream_ground(tmp_path, cluster)
    ground.produce(values(40))
    with ground.running() as session:
        session.wait_until_read(40)
        for start in (40, 80):
            cluster.stop_node(1, kill=start == 40)
            cluster.start_node(1)
            ground.produce(values(start + 40, start))
            session.wait_until_read(start + 40, seconds=60)
    assert ground.stations() == names(120)
    assert {one.epoch for one in ground.places_of_topics()} == {1}


def test_brokers_that_stay_away_end_the_session(kafka_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.landing.stream_loop._LOOK_SECONDS", 0.2)
    cluster = kafka_cluster(1)
    ground = stream_ground(tmp_path, cluster)
    ground.streamer_options["unreachable_seconds"] = 1.0
    ground.produce(values(4))
    with pytest.raises(UnavailableError, match="failed"), ground.running() as session:
        session.wait_until_read(4)
        cluster.stop_node(1, kill=True)
        session.thread.join(40)
    assert ground.stations() == names(4)


@pytest.mark.parametrize("security", ["sasl_plain", "scram", "tls"])
def test_secured_clusters(security: str, kafka_cluster: Any, tmp_path: Path) -> None:
    cluster = kafka_cluster(1, security=security)
    ground = stream_ground(tmp_path, cluster)
    ground.produce(values(40))
    ground.stream()
    assert ground.stations() == names(40)
    if security == "tls":
        return
    secret = cluster.client_config()["sasl.password"]
    wrong = with_source(ground)
    wrong.client["sasl.password"] = "not the-password"
    with pytest.raises(InputError) as caught:
        wrong.stream()
    assert "TIMESTORE_KAFKA" in str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(ground.connection())):
        assert secret not in text
        assert "not the-password" not in text
    assert secret.encode() not in (tmp_path / "catalog.db").read_bytes()
