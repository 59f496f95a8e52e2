"""The clusters that tests run on are what they say: real brokers that restart, die, grow and ask for passwords."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from timestore_assets_tests.support import kafka_jars
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka, KafkaCluster, produce

pytestmark = REAL_KAFKA
Make = Callable[..., KafkaCluster]
WAIT = 60.0


def read(settings: dict[str, Any], topic: str, partition: int, number: int) -> list[Message]:
    consumer = Consumer({**settings, "group.id": "reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0)])
    try:
        found: list[Message] = []
        deadline = time.monotonic() + WAIT
        while len(found) < number and time.monotonic() < deadline:
            found += consumer.consume(number - len(found), 1.0)
        return found
    finally:
        consumer.close()


def test_produce_tells_the_offsets_and_keeps_all_parts_of_a_record(kafka: KafkaCluster) -> None:
    kafka.create_topic("parts", 3)
    records = [(2, b"k", b"v", [("h", b"1")], 1_357_000_000_000), (2, None, None, None, None), (0, "ü", "w", None, None)]
    assert produce(kafka.bootstrap, "parts", records) == {2: [0, 1], 0: [0]}
    first, second = read(kafka.client_config(), "parts", 2, 2)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", [("h", b"1")])
    assert first.timestamp()[1] == 1_357_000_000_000
    assert (second.key(), second.value()) == (None, None)


def test_topics_grow_and_vanish(kafka: KafkaCluster) -> None:
    kafka.create_topic("growing", 1)
    kafka.grow("growing", 5)
    assert len(kafka.admin.list_topics(timeout=WAIT).topics["growing"].partitions) == 5
    kafka.delete_topic("growing")
    assert "growing" not in kafka.admin.list_topics(timeout=WAIT).topics


def test_a_record_that_the_broker_refuses_is_an_error(kafka: KafkaCluster) -> None:
    kafka.create_topic("small", 1, config={"max.message.bytes": "1000"})
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        produce(kafka.bootstrap, "small", [(0, None, b"x" * 5000, None, None)])


def test_a_node_comes_back_with_address_and_data(kafka_cluster: Make) -> None:
    cluster = kafka_cluster()
    before = (cluster.bootstrap, cluster.admin.list_topics(timeout=WAIT).cluster_id)
    cluster.create_topic("kept", 1)
    produce(cluster.bootstrap, "kept", [(0, None, b"kept", None, None)])
    for kill in (False, True):
        cluster.stop_node(1, kill=kill)
        cluster.start_node(1)
        assert (cluster.bootstrap, cluster.admin.list_topics(timeout=WAIT).cluster_id) == before
        assert [message.value() for message in read(cluster.client_config(), "kept", 0, 1)] == [b"kept"]


def test_only_clients_with_the_right_settings_get_in(secured_kafka: KafkaCluster) -> None:
    assert len(secured_kafka.admin.list_topics(timeout=WAIT).brokers) == 1
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": secured_kafka.bootstrap, "log_level": 0}).list_topics(timeout=2.0)


CHILD = """
import pathlib, sys
from timestore_assets_tests.support.kafka_brokers import KafkaCluster
cluster = KafkaCluster(folder=pathlib.Path(sys.argv[1]))
print(cluster.nodes[0].pid, cluster.bootstrap, flush=True)
sys.stdin.read()
"""


def test_a_broker_ends_with_the_process_that_started_it(kafka: KafkaCluster, tmp_path: Path) -> None:
    root = str(Path(__file__).parent.parent.parent)
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[0])
        assert is_broker(pid)
        owner.kill()
        owner.wait(WAIT)
    deadline = time.monotonic() + WAIT
    while is_broker(pid):
        assert time.monotonic() < deadline, "the broker outlived its owner"
        time.sleep(0.05)


def is_broker(pid: int) -> bool:
    # a zombie of somebody who died has no command line any more
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, timeout=WAIT, check=False
    )
    return "kafka.Kafka" in listed.stdout


def test_without_maven_and_jars_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{java.parent}:/bin")
    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path / "jars")
    monkeypatch.setattr(kafka_jars.shutil, "which", lambda name: None if name == "mvn" else f"/usr/bin/{name}")
    with pytest.raises(kafka_jars.NoKafkaError, match="mvn is not installed"):
        kafka_jars.kafka_jars.__wrapped__()
    assert not list((tmp_path / "jars").glob("4*"))


def test_a_failing_fetch_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text("#!/bin/sh\necho '[ERROR] no network (https://somewhere.example/x)'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:/usr/bin:/bin")
    monkeypatch.setattr(kafka_jars, "FOLDER", tmp_path / "jars")
    with pytest.raises(kafka_jars.NoKafkaError, match="mvn failed: no network"):
        kafka_jars.kafka_jars.__wrapped__()
    assert [path.name for path in (tmp_path / "jars").iterdir()] == ["lock"]


def test_the_embedded_broker_stands_in_where_it_can() -> None:
    with EmbeddedKafka() as embedded:
        embedded.create_topic("some", 4)
        written = produce(embedded.bootstrap, "some", [(3, None, b"x", None, None)])
        assert written == {3: [0]}
        assert [message.value() for message in read(embedded.client_config(), "some", 3, 1)] == [b"x"]
        with pytest.raises(pytest.skip.Exception, match="not proven: needs Apache Kafka"):
            embedded.create_topic("many", 12)


def test_any_kafka_is_one_of_both(any_kafka: KafkaCluster | EmbeddedKafka) -> None:
    any_kafka.create_topic("anywhere", 4)
    assert produce(any_kafka.bootstrap, "anywhere", [(1, None, b"x", None, None)]) == {1: [0]}
