"""Feeding the demo's stream beside the daemon that lands it: an embedded broker, and a thread that writes the flights."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from timestore_assets.cli.demo.demo_inputs import StreamInput
from timestore_assets.cli.demo.flights_feed import feed_flights
from timestore_assets.cli.demo.replay_flights import TOPIC, landed_by
from timestore_assets.model.errors import TimestoreError
from timestore_assets.sources.kafka.embedded import EmbeddedBroker, publish, published_servers
from timestore_assets.sources.kafka.kafka_client import KafkaConnection
from timestore_assets.warehouse import Warehouse


@dataclass(kw_only=True)
class Feed:
    """A feed under way."""

    servers: str
    """Of the broker that it goes to."""
    failures: list[TimestoreError] = field(default_factory=list)

    def raise_failure(self) -> None:
        if self.failures:
            raise self.failures[0]


@contextmanager
def flights_fed(warehouse: Warehouse, stream: StreamInput, *, patience: float) -> Iterator[Feed]:
    """While entered, a broker for this home runs, and the flights that have not landed yet go into its topic.

    Args:
        patience: seconds in which nothing lands until the feed fails; a busy machine needs minutes to start the daemon and a run.

    Raises:
        UnavailableError: the broker did not come up.
    """
    with _broker(warehouse) as servers:
        feed = Feed(servers=servers)
        threading.Thread(target=_write, args=(warehouse, stream, feed, patience), name="flights-feed", daemon=True).start()
        yield feed


@contextmanager
def _broker(warehouse: Warehouse) -> Iterator[str]:
    """The one that runs for this home already, or one of our own."""
    home = warehouse.settings.home_folder
    running = published_servers(home)
    if running is not None:
        yield running
        return
    with EmbeddedBroker() as broker, publish(home, broker):
        yield broker.bootstrap_servers


def _write(warehouse: Warehouse, stream: StreamInput, feed: Feed, patience: float) -> None:
    try:
        feed_flights(
            KafkaConnection(servers=feed.servers),
            TOPIC,
            consumed=landed_by(warehouse, TOPIC),
            done=_landed(warehouse, stream),
            patience=patience,
        )
    except TimestoreError as error:
        feed.failures.append(error)


def _landed(warehouse: Warehouse, stream: StreamInput) -> Counter[int]:
    """How many flights of each partition a demo before this one has landed; its broker, and what had not landed, is gone."""
    _, record = warehouse.resolve(stream.dataset)
    source = warehouse.catalog.sources.ensure(record.id, stream.source.kind, stream.source.address)
    landed: Counter[int] = Counter()
    for one in warehouse.catalog.topics.partitions(source.id):
        landed[one.number] += one.position
    return landed
