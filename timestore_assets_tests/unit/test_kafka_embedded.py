"""The embedded broker, the file by which it is found, and the ledger of a feed that must not run away from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from timestore_assets.model.errors import RefusedError, UnavailableError
from timestore_assets.sources.kafka.embedded import PARTITIONS, EmbeddedBroker, is_embedded, publish, published_servers
from timestore_assets.sources.kafka.topic_feed import UNKNOWN_RECORD_BYTES, SendWindow

WAIT = 60.0
DIES = """
import os, pathlib, sys
from timestore_assets.sources.kafka.embedded import EmbeddedBroker, publish
with EmbeddedBroker() as broker, publish(pathlib.Path(sys.argv[1]), broker):
    os.kill(os.getpid(), 9)
"""


def test_any_client_can_use_it_and_topics_have_four_partitions() -> None:
    with EmbeddedBroker() as broker:
        broker.make_topic("some")
        found = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}).list_topics(timeout=WAIT)
        assert found.cluster_id == broker.cluster_id
    assert is_embedded(found.cluster_id or "")
    assert len(found.topics["some"].partitions) == PARTITIONS


def test_several_brokers_make_one_cluster() -> None:
    with EmbeddedBroker(brokers=3) as broker:
        assert len(broker.bootstrap_servers.split(",")) == 3


def test_each_start_is_another_cluster() -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.cluster_id != other.cluster_id
        assert one.bootstrap_servers != other.bootstrap_servers


def test_it_is_found_while_it_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert published_servers(home) is None
    with EmbeddedBroker() as broker, publish(home, broker):
        assert published_servers(home) == broker.bootstrap_servers
        told = json.loads((home / "broker.json").read_text())
        assert told == {"bootstrap_servers": broker.bootstrap_servers, "cluster_id": broker.cluster_id, "pid": os.getpid()}
    assert published_servers(home) is None
    assert not (home / "broker.json").exists()


def test_the_file_of_a_dead_process_is_no_broker_and_no_obstacle(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], timeout=60, check=False)
    assert died.returncode == -9
    assert (tmp_path / "broker.json").exists()
    assert published_servers(tmp_path) is None
    with EmbeddedBroker() as broker, publish(tmp_path, broker):
        assert published_servers(tmp_path) == broker.bootstrap_servers


def test_a_second_broker_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    with EmbeddedBroker() as first, publish(tmp_path, first):
        with EmbeddedBroker() as second, pytest.raises(RefusedError, match=first.bootstrap_servers):
            publish(tmp_path, second).__enter__()
        assert published_servers(tmp_path) == first.bootstrap_servers


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with EmbeddedBroker() as broker, pytest.raises(UnavailableError, match=r"broker\.json can't be written"):
        publish(tmp_path / "home", broker).__enter__()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bootstrap'])
def test_a_strange_file_is_no_broker(tmp_path: Path, text: str) -> None:
    with EmbeddedBroker() as broker, publish(tmp_path, broker):
        (tmp_path / "broker.json").write_text(text)
        assert published_servers(tmp_path) is None


def test_bytes_count_from_sending_until_the_checkpoint_has_passed_them() -> None:
    ahead = SendWindow({0: (0, 0), 1: (0, 0)}, {}, most=100)
    for offset in range(2):
        assert ahead.has_room(0, 50)
        ahead.sent(0, 50)
        ahead.written(0, offset, 50)
    assert not ahead.has_room(0, 1)
    assert ahead.has_room(1, 100)
    assert not ahead.landed({0: 0})
    assert ahead.landed({0: 1, 7: 3})
    assert ahead.has_room(0, 50)
    assert not ahead.has_room(0, 51)


def test_a_record_longer_than_the_limit_goes_alone() -> None:
    ahead = SendWindow({0: (0, 0)}, {}, most=100)
    assert ahead.has_room(0, 5000)
    ahead.sent(0, 5000)
    assert not ahead.has_room(0, 1)


def test_what_was_there_before_and_is_not_landed_counts() -> None:
    ahead = SendWindow({0: (10, 14), 1: (0, 4)}, {1: 4}, most=4 * UNKNOWN_RECORD_BYTES)
    assert not ahead.has_room(0, 1)
    assert ahead.has_room(1, 4 * UNKNOWN_RECORD_BYTES)
    assert not ahead.landed({0: 13})
    assert ahead.landed({0: 14})
    assert ahead.has_room(0, 1)
