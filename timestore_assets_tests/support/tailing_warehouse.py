"""A warehouse whose topics are tailed: what a query sees of records before, while and after they land."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from timestore_assets.building.builder import Builder
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.question import Question
from timestore_assets.model.window import Partition
from timestore_assets.querying.answer import Streaming
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.settings import Settings
from timestore_assets.tailing.hot_buffers import HotBuffers
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster
from timestore_assets_tests.support.landing_warehouse import dataset
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, new_topic, wait_until


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An answer: the asked column of its rows, and what it said about the merged ones."""

    values: list[Any]
    streaming: Streaming


@dataclass(kw_only=True)
class TailingWarehouse(TopicWarehouse):
    """A `TopicWarehouse` with the sources in its declaration, and what a service has to answer from it."""

    settings: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def hot(self, **settings: Any) -> Iterator[Tailing]:
        """The buffers of a service, until the block ends."""
        servers = self.settings.get("kafka_bootstrap_servers", self.cluster.bootstrap)
        chosen = Settings(**({"home": self.root, "kafka_bootstrap_servers": servers} | self.settings | settings))
        querier = Querier(self.catalog, self.storage, EngineLimits(**self._limits()), holder="test")
        buffers = HotBuffers(self.catalog, chosen, self.limits, holder="test", clock=lambda: self.now)
        try:
            yield Tailing(ground=self, buffers=buffers, querier=querier)
        finally:
            buffers.close()
            querier.close()

    def build(self, *starts: Any, close: bool = False) -> None:
        """Build all partitions that hold rows."""
        with Builder(WriteContext(catalog=self.catalog, storage=self.storage, limits=self.limits, holder="test")) as builder:
            for found in self.catalog.partitions.of(self.record.id):
                part = Partition(window=self.dataset.window, start=found.partition.start)
                builder.build(self.dataset, part, close=close, report=False, actor="test")

    def _limits(self) -> dict[str, Any]:
        return {"memory_bytes": 500_000_000, "threads": 2, "temp_dir": self.root / "temp"}


@dataclass(frozen=True, kw_only=True)
class Tailing:
    """Asks a ground's dataset with the rows of its topics merged in."""

    ground: TailingWarehouse
    buffers: HotBuffers
    querier: Querier

    def ask(self, column: str = "station", **question: Any) -> Seen:
        declared = self.ground.dataset
        record = self.ground.catalog.datasets.register(declared, actor="test")
        wanted = Question(dataset=declared.name, **({"columns": (column,)} | question))
        moment = self.buffers.look(declared, record) if wanted.as_of is None else None
        with self.querier.ask(declared, record, wanted, fresh=moment) as answer:
            values = answer.table().column(column).to_pylist()
            streaming = answer.streaming
        assert streaming is not None or moment is None
        return Seen(values=values, streaming=streaming or _NOT_TAILED)

    def wait_for(self, count: int, **question: Any) -> Seen:
        """Ask until so many rows are in the answer."""
        found = self.ask(**question)

        def reached() -> bool:
            nonlocal found
            found = self.ask(**question)
            return len(found.values) >= count

        wait_until(reached, f"{count} rows are in the answer")
        return found

    def wait_for_state(self, state: str) -> Seen:
        found = self.ask()

        def reached() -> bool:
            nonlocal found
            found = self.ask()
            return found.streaming.buffer_state == state

        wait_until(reached, f"the buffer is {state}")
        return found


_NOT_TAILED = Streaming(buffer_state="off", merged_rows=0, watermark=None, fresh=False)


def tailing_warehouse(
    root: Any, cluster: KafkaCluster | EmbeddedKafka, *, declared: Dataset | None = None, partitions: int = 4, **options: Any
) -> TailingWarehouse:
    """A ground with one topic of its own."""
    ground = TailingWarehouse.at(
        root, declared or dataset(), cluster=cluster, topics=(new_topic(cluster, partitions),), options=options
    )
    ground.dataset = replace(ground.dataset, sources=(ground.kafka_source,))
    ground.catalog.datasets.register(ground.dataset, actor="test")
    return ground
