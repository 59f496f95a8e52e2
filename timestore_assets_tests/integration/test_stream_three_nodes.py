"""A session on three nodes: one that dies takes nothing with it, a partition without a leader holds no other back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA
from timestore_assets_tests.support.kafka_cluster import KafkaCluster
from timestore_assets_tests.support.topic_warehouse import topic_warehouse, value, wait_until

pytestmark = [*REAL_KAFKA, pytest.mark.slow]
NODE_SECONDS = 60.0


def leader(cluster: KafkaCluster, topic: str, number: int) -> int:
    """The node that leads a partition, -1 when none does."""
    return int(cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions[number].leader)


def test_nodes_that_die_under_sessions(kafka_cluster: Callable[..., KafkaCluster], tmp_path: Path) -> None:
    """One test, because three nodes take long to start."""
    cluster = kafka_cluster(3)
    cluster.create_topic("safe", 6, replication=3, config={"min.insync.replicas": "2"})
    cluster.create_topic("bare", 3)
    a_replicated_topic_goes_on_when_a_node_is_killed(cluster, tmp_path / "safe")
    a_partition_without_a_leader_holds_no_other_back(cluster, tmp_path / "bare")


def a_replicated_topic_goes_on_when_a_node_is_killed(cluster: KafkaCluster, folder: Path) -> None:
    ground = topic_warehouse(folder, cluster, "safe")
    ground.produce([value(number) for number in range(60)])
    with ground.running() as session:
        session.wait_until_read(60, NODE_SECONDS)
        victim = leader(cluster, "safe", 0)
        cluster.stop_node(victim, kill=True)
        ground.produce([value(number) for number in range(60, 120)])  # all is taken, by the two that are left
        session.wait_until_read(120, NODE_SECONDS)
        cluster.start_node(victim)
    assert sorted(ground.stations()) == sorted(f"S{number}" for number in range(120))
    assert ground.counters().landed == 120


def a_partition_without_a_leader_holds_no_other_back(cluster: KafkaCluster, folder: Path) -> None:
    ground = topic_warehouse(folder, cluster, "bare", idle=timedelta(hours=1))
    for number in range(3):
        ground.produce([value(number, hour=1)], partition=number)
    ground.stream()
    mark = ground.known.watermark
    victim = leader(cluster, "bare", 2)
    others = [number for number in range(3) if leader(cluster, "bare", number) != victim]
    cluster.stop_node(victim)
    wait_until(lambda: leader(cluster, "bare", 2) == -1, "the partition has no leader", NODE_SECONDS)
    for number in others:
        ground.produce([value(10 + number, hour=30)], partition=number)
    report = ground.stream()
    assert (report.ending, report.counters.landed) == ("caught_up", len(others))
    reached = ground.known.watermark  # the one that can't be read may still deliver what is older
    assert mark is not None
    assert reached is not None
    assert reached < mark + timedelta(hours=1)
    cluster.start_node(victim)
    wait_until(lambda: leader(cluster, "bare", 2) != -1, "the partition has its leader again", NODE_SECONDS)
    ground.produce([value(20, hour=2)], partition=2)
    assert ground.stream().counters.landed == 1
    assert ground.counters().landed == 3 + len(others) + 1
