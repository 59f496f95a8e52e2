"""`timestore broker` and `timestore replay`: found by the same home, stopped politely, and never too far ahead of landing."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from timestore_assets.cli.demo.demo_declarations import FLIGHTS, WEATHER, declare
from timestore_assets.cli.demo.demo_feed import flights_fed
from timestore_assets.cli.demo.demo_inputs import inputs
from timestore_assets.cli.demo.flights_feed import archive, feed_flights, flights
from timestore_assets.cli.demo.replay_flights import landed_by
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.settings import Settings
from timestore_assets.sources.kafka import topic_feed
from timestore_assets.sources.kafka.embedded import KEPT_BYTES, EmbeddedBroker
from timestore_assets.sources.kafka.kafka_client import KafkaConnection
from timestore_assets.sources.kafka.topic_feed import FeedReport, TopicFeed
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.kafka_brokers import KafkaCluster

WAIT = 60.0


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def connection() -> Iterator[KafkaConnection]:
    with EmbeddedBroker() as broker:
        yield KafkaConnection(servers=broker.bootstrap_servers)


@contextmanager
def running_broker(shell: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(shell.folder / "bin" / "timestore"), "broker", *arguments]
    with subprocess.Popen(
        command, env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Follower(threading.Thread):
    """Reads a topic from the start, as landing would, and knows how far it is."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(connection.config(group_id="follower", enable_auto_commit=False, auto_offset_reset="error"))
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
        self._topic, self._ended = topic, threading.Event()
        self.positions: dict[tuple[str, int], int] = {}
        self.messages: list[Message] = []
        self.failed = ""

    def run(self) -> None:
        while not self._ended.is_set():
            for message in self._consumer.consume(2000, 0.1):
                self._take(message)

    def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            self.failed = error.str() or error.name()
            return
        place = (self._topic, message.partition() or 0)
        if message.offset() != self.positions.get(place, 0):
            self.failed = f"{message.offset()} after {self.positions.get(place, 0)} in {place}"
        self.positions[place] = (message.offset() or 0) + 1
        self.messages.append(message)

    def finish(self, number: int) -> None:
        deadline = time.monotonic() + WAIT
        while len(self.messages) < number and not self.failed and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ended.set()
        self.join(WAIT)
        self._consumer.close()


def read_all(connection: KafkaConnection, topic: str, number: int) -> list[Message]:
    follower = Follower(connection, topic)
    follower.start()
    follower.finish(number)
    assert not follower.failed
    return follower.messages


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_broker_says_where_it_is_and_ends_when_asked(shell: CommandLine, sign: signal.Signals) -> None:
    with running_broker(shell) as process:
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.readline() + process.stdout.readline()
        file = shell.home / "broker.json"
        servers = json.loads(file.read_text())["bootstrap_servers"]
        assert f"export TIMESTORE_KAFKA_BOOTSTRAP_SERVERS={servers}" in said
        assert "5 MB" in said
        process.send_signal(sign)
        assert process.wait(WAIT) == 0
        assert process.stderr.read() == ""
        assert not file.exists()


def test_only_one_broker_a_home(shell: CommandLine) -> None:
    with running_broker(shell, "--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["pid"] == process.pid
        second = shell.run("broker")
        assert second.code == 3
        assert told["bootstrap_servers"] in second.err
        assert second.err.count("\n") == 1


def test_replay_finds_the_broker_and_writes_the_flights(shell: CommandLine) -> None:
    with running_broker(shell, "--json") as process:
        assert process.stdout is not None
        servers = json.loads(process.stdout.readline())["bootstrap_servers"]
        report = shell.run("replay", "--limit", "2000", "--rate", "0", "--topic", "air", "--json").json
        found = read_all(KafkaConnection(servers=servers), "air", 2000)
    assert report["records"] == len(found) == 2000
    assert sum(report["by_partition"].values()) == 2000
    originals = Counter(as_document(row) for row in first_flights(2000))
    written = Counter(json.dumps(json.loads(message.value() or b""), sort_keys=True) for message in found)
    assert written == originals
    by_key = Counter({message.key(): message.partition() for message in found}.values())
    assert len(by_key) > 1, "the airlines are spread over the partitions"


def first_flights(number: int) -> list[dict[str, str]]:
    """The flights that come first in time, by Python's own reader; the last hour may be cut in our order only."""
    with zipfile.ZipFile(archive()) as packed, packed.open(packed.namelist()[0]) as text:
        rows = list(csv.DictReader(io.TextIOWrapper(text, encoding="utf-8", newline="")))
    names = ("time_hour", "sched_dep_time", "carrier", "flight", "origin", "dest", "tailnum")
    numbers = ("sched_dep_time", "flight")
    return sorted(rows, key=lambda row: [int(row[name]) if name in numbers else row[name] for name in names])[:number]


def as_document(row: dict[str, str]) -> str:
    texts = ("carrier", "tailnum", "origin", "dest", "time_hour")
    values: dict[str, Any] = {
        name: text if name in texts else int(float(text)) for name, text in row.items() if text not in ("", "NA")
    }
    return json.dumps({name: values.get(name) for name in row}, sort_keys=True)


def test_without_any_broker_replay_says_what_to_do(shell: CommandLine) -> None:
    result = shell.inside("replay", "--limit", "1")
    assert result.code == 1
    assert "timestore broker" in result.err


def test_hours_go_on_together_and_missing_values_are_null() -> None:
    records = list(flights(limit=5000))
    documents = [json.loads(value) for _, value in records]
    hours = [document["time_hour"] for document in documents]
    assert hours == sorted(hours)
    assert hours[0] == "2013-01-01T10:00:00Z"
    assert all(key == document["carrier"] for (key, _), document in zip(records, documents, strict=True))
    assert any(document["dep_time"] is None for document in documents)
    assert "NaN" not in "".join(value for _, value in records)


def test_a_follower_loses_nothing_of_what_is_fed_as_fast_as_it_goes(connection: KafkaConnection) -> None:
    number = 60_000
    follower = Follower(connection, "flights")
    follower.start()
    report = feed_flights(connection, "flights", limit=number, consumed=lambda _: dict(follower.positions))
    follower.finish(number)
    assert not follower.failed
    assert len(follower.messages) == report.records == number
    of_partition = Counter[int]()
    for message in follower.messages:
        of_partition[message.partition() or 0] += len(message.value() or b"")
    assert max(of_partition.values()) > KEPT_BYTES, "else the broker could have kept all of it anyway"


def test_a_feed_that_nobody_lands_stays_within_what_the_broker_keeps_and_gives_up(connection: KafkaConnection) -> None:
    seen: list[FeedReport] = []
    with pytest.raises(UnavailableError, match=r"nothing of topic flights has landed for 1 s.*timestore stream"):
        feed_flights(connection, "flights", consumed=lambda _: {}, patience=1.0, progress=seen.append)
    consumer = Consumer(connection.config(group_id="looker"))
    ends = [consumer.get_watermark_offsets(TopicPartition("flights", number), timeout=WAIT) for number in range(4)]
    consumer.close()
    assert all(low == 0 for low, _ in ends), "something was dropped"
    assert 3_000 < sum(high for _, high in ends) < 4 * 3_000_000 / 250


def test_the_demos_feed_waits_as_long_as_the_demo_does(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    declare(settings, WEATHER, FLIGHTS)
    with Warehouse.open(settings) as warehouse:
        _, stream = inputs(warehouse)
        with flights_fed(warehouse, stream, patience=1.0) as feed:
            deadline = time.monotonic() + 4 * WAIT  # the flights are read and sorted before the first is written
            while not feed.failures and time.monotonic() < deadline:
                time.sleep(0.05)
    assert "has landed for 1 s" in str(feed.failures[0])


def test_a_second_feed_counts_what_the_first_left(connection: KafkaConnection) -> None:
    with pytest.raises(UnavailableError):
        feed_flights(connection, "flights", consumed=lambda _: {}, patience=0.5)
    with pytest.raises(UnavailableError):
        feed_flights(connection, "flights", consumed=lambda _: {}, patience=0.5)
    consumer = Consumer(connection.config(group_id="looker"))
    lows = [consumer.get_watermark_offsets(TopicPartition("flights", number), timeout=WAIT)[0] for number in range(4)]
    consumer.close()
    assert lows == [0, 0, 0, 0]


def test_the_rate_is_kept(connection: KafkaConnection) -> None:
    told: list[FeedReport] = []
    report = TopicFeed(connection, "paced").write([("k", "v")] * 1500, rate=1000, progress=told.append)
    assert report.records == 1500
    assert report.seconds >= 1.4
    assert len(told) >= 2
    assert told[-1].records == 1500


def test_a_broker_that_is_not_there_is_named(connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_feed, "CALL_SECONDS", 1.0)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        TopicFeed(KafkaConnection(servers="127.0.0.1:1"), "flights")


def test_a_broker_that_goes_away_ends_the_feed_in_a_sentence() -> None:
    with EmbeddedBroker() as broker:
        feeding = TopicFeed(KafkaConnection(servers=broker.bootstrap_servers), "flights", patience=1.0)
    with pytest.raises(UnavailableError, match="topic flights"):
        feeding.write([("k", "v")])


def test_a_topic_is_as_far_as_its_slowest_dataset(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("quick", "slow"):
        folder = home / "defs" / name
        folder.mkdir(parents=True)
        (folder / "defs.yaml").write_text(DECLARATION.format(name=name))
    with Warehouse.open(Settings(home=home)) as warehouse:
        for name, positions in {"quick": {0: 9, 1: 5}, "slow": {0: 4}}.items():
            dataset, record = warehouse.resolve(name)
            source = warehouse.catalog.sources.ensure(record.id, "kafka", dataset.sources[0].address)
            warehouse.catalog.topics.open(source.id, cluster_id="here", topic="air", epoch=1, topic_id=None, starts=positions)
        consumed = landed_by(warehouse, "air")
        assert consumed("here") == {("air", 0): 4}
        assert consumed("elsewhere") == {}
        assert landed_by(warehouse, "nobody's")("here") == {}


DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: {name}
  columns:
    at: timestamp
  time: at
  start: 2013-01-01
  sources:
    - kafka: {{topic: air}}
"""


@pytest.mark.xdist_group("kafka")
def test_a_real_broker_keeps_everything_so_nobody_is_waited_for(kafka: KafkaCluster) -> None:
    kafka.create_topic("real-flights", 4)
    connection = KafkaConnection(servers=kafka.bootstrap)
    report = feed_flights(connection, "real-flights", limit=50_000, consumed=lambda _: {}, patience=5.0)
    assert report.records == 50_000


@pytest.mark.xdist_group("kafka")
def test_a_topic_that_is_not_made_on_demand_is_asked_for(kafka_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_feed, "CALL_SECONDS", 1.0)
    cluster = kafka_cluster(properties={"auto.create.topics.enable": "false"})
    with pytest.raises(InputError, match="there is no topic nowhere"):
        TopicFeed(KafkaConnection(servers=cluster.bootstrap), "nowhere")
