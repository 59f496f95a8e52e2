"""Brokers for tests: marks, stand-ins where Apache Kafka can't be had, and a quick way to fill topics."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Self, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from timestore_assets.sources.kafka.embedded import PARTITIONS, EmbeddedBroker
from timestore_assets_tests.support.kafka_cluster import CALL_SECONDS, KafkaCluster, dotted
from timestore_assets_tests.support.kafka_jars import NoKafkaError

REAL_KAFKA = [pytest.mark.xdist_group("kafka")]
"""Marks of tests that use real Kafka: one worker holds them all, so that one broker is enough."""

Record = tuple[int | None, bytes | str | None, bytes | str | None, list[tuple[str, bytes | str | None]] | None, int | None]
"""Partition, key, value, headers, timestamp in milliseconds; all but the value may well be None."""


class EmbeddedKafka:
    """The embedded broker in the clothes of `KafkaCluster`, as far as it goes: topics have 4 partitions, nothing is secured."""

    def __init__(self) -> None:
        self.real = False
        self._broker = EmbeddedBroker()

    def __enter__(self) -> Self:
        self._broker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.__exit__(None, None, None)

    @property
    def bootstrap(self) -> str:
        return self._broker.bootstrap_servers

    @property
    def cluster_id(self) -> str:
        return self._broker.cluster_id

    def client_config(self, **more: Any) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, **dotted(more)}

    def create_topic(self, name: str, partitions: int = PARTITIONS, **_: Any) -> None:
        """Make a topic; a test that needs another number of partitions is skipped."""
        if partitions != PARTITIONS:
            pytest.skip(f"not proven: needs Apache Kafka (the embedded broker has no topics of {partitions} partitions)")
        self._broker.make_topic(name)


def kafka_or_skip(nodes: int = 1, **how: Any) -> KafkaCluster:
    """A cluster by `KafkaCluster`'s arguments; the test is reported as not proven where Apache Kafka can't be had."""
    try:
        return KafkaCluster(nodes, **how)
    except NoKafkaError as reason:
        pytest.skip(f"not proven: needs Apache Kafka ({reason})")


def produce(bootstrap: str, topic: str, records: Iterable[Record], **config: Any) -> dict[int, list[int]]:
    """Produce the records in order and wait until the broker has them.

    Args:
        config: settings of the producer, with `_` for each dot.

    Returns:
        The offsets written, by partition, in the order in which they were handed in.

    Raises:
        KafkaException: a record was refused. TimeoutError: some were not taken within `CALL_SECONDS` of the last one.
    """
    offsets: defaultdict[int, list[int]] = defaultdict(list)
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refused.append(error)
        else:
            offsets[cast(int, message.partition())].append(cast(int, message.offset()))

    settings = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "log_level": 2, **dotted(config)}
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    for number, (partition, key, value, headers, timestamp) in zip(itertools.count(1), records, strict=False):
        placed = {"partition": partition} if partition is not None else {}
        timed = {"timestamp": timestamp} if timestamp is not None else {}
        _produce_patiently(producer, topic, {"key": key, "value": value, "headers": headers, **placed, **timed}, delivered)
        if number % 1000 == 0:
            producer.poll(0)
    left = producer.flush(CALL_SECONDS)
    if refused:
        raise KafkaException(refused[0])
    if left:
        raise TimeoutError(f"{left} records for {topic} were not taken within {CALL_SECONDS:.0f} s")
    return dict(offsets)


def _produce_patiently(producer: Producer, topic: str, record: dict[str, Any], delivered: Callable[..., None]) -> None:
    deadline = time.monotonic() + CALL_SECONDS
    while True:
        try:
            producer.produce(topic, on_delivery=delivered, **record)
        except BufferError:
            if time.monotonic() > deadline:
                raise
            producer.poll(0.1)
        else:
            return
