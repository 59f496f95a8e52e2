"""A warehouse that lands topics: sessions in one line, on whatever broker a test has."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from timestore_assets.catalog.records import SourceRecord, TopicPartition
from timestore_assets.landing.topics.session_options import SessionLimits, SessionOptions, StreamReport
from timestore_assets.landing.topics.streamer import Streamer
from timestore_assets.model.dataset import Dataset, FlushPolicy, KafkaSource
from timestore_assets.sources.kafka.kafka_client import KafkaConnection
from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, dataset

QUICK = FlushPolicy(age=timedelta(milliseconds=50))
_numbers = itertools.count()
WAIT_SECONDS = 60.0


def new_topic(cluster: KafkaCluster | EmbeddedKafka, partitions: int = 4, **config: str) -> str:
    """Make a topic that no other test has."""
    name = f"stream-{next(_numbers)}-{time.monotonic_ns()}"
    if config:
        assert isinstance(cluster, KafkaCluster)
        cluster.create_topic(name, partitions, config={key.replace("_", "."): value for key, value in config.items()})
    else:
        cluster.create_topic(name, partitions)
    return name


def value(number: int, *, hour: float = 0.0, **more: Any) -> bytes:
    """A good record, told from others by its number (its temperature is never out of range)."""
    at = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hour, seconds=number)
    return json.dumps({"ts": at.isoformat(), "station": f"S{number}", "temp": number % 100, **more}).encode()


@dataclass(kw_only=True)
class TopicWarehouse(LandingWarehouse):
    """A `LandingWarehouse` whose dataset has one topic source."""

    cluster: KafkaCluster | EmbeddedKafka
    topics: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Of the source."""
    streamer_options: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)

    @property
    def kafka_source(self) -> KafkaSource:
        return KafkaSource(topics=self.topics, **({"flush": QUICK} | self.options))

    @property
    def known(self) -> SourceRecord:
        registered = self.catalog.datasets.register(self.dataset, actor="test")
        return self.catalog.sources.ensure(registered.id, "kafka", self.kafka_source.address)

    def connection(self) -> KafkaConnection:
        config = {**self.cluster.client_config(), **self.client}
        return KafkaConnection(servers=config.pop("bootstrap.servers"), options=config)

    def kafka_topics(self) -> KafkaTopics:
        return KafkaTopics(self.connection(), self.kafka_source, group=f"group-{self.topics[0]}")

    def streamer(self, **options: Any) -> Streamer:
        """`options`: of the streamer, or of its context."""
        chosen = {**self.streamer_options, **options}
        context = {name: chosen.pop(name) for name in tuple(chosen) if name in ("holder", "ttl", "clock")}
        return Streamer(replace(self.context, **context), **chosen)

    def stream(self, *, streamer: Streamer | None = None, topics: Any = None, **options: Any) -> StreamReport:
        """One session, which drains what is there unless it is wished otherwise."""
        found = topics or self.kafka_topics()
        return (streamer or self.streamer()).stream(self.dataset, self.kafka_source, found, SessionOptions(**options))

    def produce(self, values: Sequence[bytes | None], *, topic: str | None = None, partition: int | None = None) -> None:
        """Produce values, spread over the partitions by their place in the list unless one is named."""
        made = [(partition if partition is not None else number % 4, None, one, None, None) for number, one in enumerate(values)]
        config = {key.replace(".", "_"): val for key, val in self.client.items()}
        secured = {key.replace(".", "_"): val for key, val in self.cluster.client_config().items() if key != "bootstrap.servers"}
        produce(self.cluster.bootstrap, topic or self.topics[0], made, **secured, **config)

    def places_of_topics(self) -> list[TopicPartition]:
        return self.catalog.topics.partitions(self.known.id)

    def positions(self) -> dict[int, int]:
        return {one.number: one.position for one in self.places_of_topics()}

    def stations(self) -> list[str]:
        """Of all visible rows, sorted by their numbers: what lands twice is there twice."""
        return sorted((row[0] for row in self.rows("station")), key=lambda name: int(name[1:]))

    def audited(self, action: str) -> list[dict[str, Any]]:
        return [
            one for one in self.catalog.audit.newest(dataset_ids=[self.known.dataset_id], limit=1000) if one["action"] == action
        ]

    @contextmanager
    def running(self, **options: Any) -> Iterator[RunningSession]:
        """A session in a thread, asked to stop at the end of the block."""
        session = RunningSession(self, SessionOptions(limits=SessionLimits(until_caught_up=False), **options))
        session.thread.start()
        try:
            yield session
        finally:
            session.options.stop.set()
            session.thread.join(60)
        assert not session.thread.is_alive()
        if session.error is not None:
            raise session.error


class RunningSession:
    """`report`: of the session, once it has ended."""

    def __init__(self, warehouse: TopicWarehouse, options: SessionOptions) -> None:
        self.ground, self.options = warehouse, options
        self.report: StreamReport | None = None
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run, name="session", daemon=True)

    def _run(self) -> None:
        warehouse = self.ground
        try:
            self.report = warehouse.streamer().stream(
                warehouse.dataset, warehouse.kafka_source, warehouse.kafka_topics(), self.options
            )
        except BaseException as error:
            self.error = error

    def wait_until(self, reached: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        wait_until(lambda: reached() or not self.thread.is_alive(), what, seconds)
        assert reached(), f"{what}: {self.report or self.error}"

    def wait_until_read(self, count: int, seconds: float = WAIT_SECONDS) -> None:
        def reached() -> bool:
            return self.ground.catalog.datasets.find("weather") is not None and self.ground.counters().read >= count

        self.wait_until(reached, f"{count} records are read", seconds)


def wait_until(reached: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait for what another thread or process does.

    Raises:
        TimeoutError: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s until {what}")
        time.sleep(0.02)


def topic_warehouse(root: Any, cluster: KafkaCluster | EmbeddedKafka, *topics: str, **options: Any) -> TopicWarehouse:
    """A fresh warehouse on these topics; options of the source, and `dataset`."""
    declared: Dataset = options.pop("dataset", None) or dataset()
    wanted = topics or (new_topic(cluster),)
    return TopicWarehouse.at(root, declared, cluster=cluster, topics=wanted, options=options)


def with_source(warehouse: TopicWarehouse, **options: Any) -> TopicWarehouse:
    return replace(warehouse, options={**warehouse.options, **options}, client=dict(warehouse.client))
