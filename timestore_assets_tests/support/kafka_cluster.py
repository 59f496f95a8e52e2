"""A cluster of real Apache Kafka: KRaft nodes on loopback that can be stopped, killed and started again."""

from __future__ import annotations

import base64
import contextlib
import functools
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from timestore_assets_tests.support.kafka_jars import kafka_jars
from timestore_assets_tests.support.kafka_node import KafkaNode
from timestore_assets_tests.support.kafka_security import Security, access

START_SECONDS = 90.0
CALL_SECONDS = 30.0
HOST = "127.0.0.1"


class KafkaCluster:
    """Nodes that are broker and controller at once, each with ports and data of its own that survive a restart.

    Args:
        nodes: 1 or 3. `folder`: a new one is made below it. `security`: how clients prove themselves.
        properties: broker settings that replace ours. `heap`: of each node.

    Raises:
        NoKafkaError: Apache Kafka can't be had on this machine.
        TimeoutError: the nodes did not find together in time; its text has the end of their logs.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        folder: Path,
        security: Security | None = None,
        properties: Mapping[str, str] | None = None,
        heap: str = "256m",
    ) -> None:
        self.real = True
        jars = kafka_jars()
        self._folder = folder / f"kafka-{uuid.uuid4().hex[:8]}"
        self._folder.mkdir(parents=True)
        self._access = access(security, self._folder)
        self._ports = [free_ports(3) for _ in range(nodes)]
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a", 1)
        self.nodes = [
            KafkaNode(
                number,
                jars=jars,
                folder=self._folder / f"node-{number}",
                properties={**self._properties(number), **self._access.broker, **(properties or {})},
                heap=heap,
            )
            for number in range(1, nodes + 1)
        ]
        try:
            self._format()
            for node in self.nodes:
                node.start()
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{ports[0]}" for ports in self._ports)

    def client_config(self, **more: Any) -> dict[str, Any]:
        """Settings of confluent-kafka's clients: address and what proves us. `more`: with `_` for each dot."""
        return {"bootstrap.servers": self.bootstrap, **self._access.client, **dotted(more)}

    def start_node(self, number: int, *, wait: bool = True) -> None:
        """Start a stopped node (counted from 1) on its old ports and data."""
        self.nodes[number - 1].start()
        if wait:
            self.wait_until_ready()

    def stop_node(self, number: int, *, kill: bool = False) -> None:
        """Stop a node by a controlled shutdown, or as if its machine had died."""
        self.nodes[number - 1].stop(kill=kill)

    def create_topic(
        self, name: str, partitions: int = 1, *, replication: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic and wait until every partition is served."""
        new = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(config or {}))
        self.admin.create_topics([new], request_timeout=CALL_SECONDS)[name].result(CALL_SECONDS)
        self._wait(lambda: self._served_partitions(name) == partitions, f"topic {name} with {partitions} partitions")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until nobody knows it any more."""
        self.admin.delete_topics([name], request_timeout=CALL_SECONDS)[name].result(CALL_SECONDS)
        self._wait(lambda: not self._led_partitions(name), f"the end of topic {name}")

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions: `partitions` in all."""
        done = self.admin.create_partitions([NewPartitions(name, partitions)], request_timeout=CALL_SECONDS)
        done[name].result(CALL_SECONDS)
        self._wait(lambda: self._served_partitions(name) == partitions, f"topic {name} with {partitions} partitions")

    @functools.cached_property
    def admin(self) -> AdminClient:
        return self._admin_at(self.bootstrap)

    def wait_until_ready(self) -> None:
        """Wait until every node that we started is a broker that answers itself; others may not know yet that it was gone."""
        wanted = sum(node.running for node in self.nodes)
        for node in self.nodes:
            if node.running:
                own = self._admin_at(f"{HOST}:{self._ports[node.number - 1][0]}")
                self._wait(functools.partial(_has_brokers, own, wanted), f"{wanted} brokers")

    def close(self) -> None:
        """Kill every node and delete its data; the logs stay for whoever looks for a reason."""
        for node in self.nodes:
            node.stop(kill=True)
            node.delete_data()

    def _admin_at(self, servers: str) -> AdminClient:
        patience = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 250, "log_level": 0}
        return AdminClient({**self.client_config(), "bootstrap.servers": servers, **patience})

    def _format(self) -> None:
        formats = [node.begin_format(self.cluster_id, self._access.format) for node in self.nodes]
        codes = [process.wait(START_SECONDS) for process in formats]
        if any(codes):
            raise RuntimeError(f"the storage could not be formatted\n{self._logs()}")

    def _properties(self, number: int) -> dict[str, str]:
        client, internal, controller = self._ports[number - 1]
        listeners = {"CLIENT": client, "INTERNAL": internal, "CONTROLLER": controller}
        copies = str(len(self._ports))
        return {
            "process.roles": "broker,controller",
            "node.id": str(number),
            "controller.quorum.voters": ",".join(f"{i}@{HOST}:{ports[2]}" for i, ports in enumerate(self._ports, 1)),
            "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items()),
            "advertised.listeners": f"CLIENT://{HOST}:{client},INTERNAL://{HOST}:{internal}",
            "listener.security.protocol.map": f"CLIENT:{self._access.protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "num.partitions": "4",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": copies,
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # records of tests have the times of old ones: a broker that keeps a week may delete them before they are read
            "log.retention.ms": "-1",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "background.threads": "2",
        }

    def _led_partitions(self, topic: str) -> list[TopicPartition]:
        found = self.admin.list_topics(timeout=CALL_SECONDS).topics.get(topic)
        return [TopicPartition(topic, one.id) for one in found.partitions.values() if one.leader >= 0] if found else []

    def _served_partitions(self, topic: str) -> int:
        """How many partitions answer: a broker tells whom it leads before it does, and refuses meanwhile."""
        led = self._led_partitions(topic)
        latest = OffsetSpec.latest()
        answers = self.admin.list_offsets(dict.fromkeys(led, latest), request_timeout=CALL_SECONDS) if led else {}
        return sum(answer.exception(CALL_SECONDS) is None for answer in answers.values())

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > deadline or not any(node.running for node in self.nodes):
                raise TimeoutError(f"waited for {what}\n{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(f"--- node {node.number}\n{node.log_tail()}" for node in self.nodes)


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on now, all different.

    They lie below those that the system gives to outgoing connections, one of which could else sit on the port of a node
    that is down for a moment.
    """
    found: set[int] = set()
    while len(found) < number:
        port = random.randint(15_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            found.add(port)
    return list(found)


def _has_brokers(admin: AdminClient, wanted: int) -> bool:
    return _brokers(admin) >= wanted


def _brokers(admin: AdminClient) -> int:
    try:
        return len(admin.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return 0


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as settings of librdkafka: `_` becomes a dot."""
    return {name if name == "log_level" else name.replace("_", "."): value for name, value in settings.items()}
