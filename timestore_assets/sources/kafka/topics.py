"""A Kafka source as landing sees it: something to survey and something to read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.sources.kafka.client import Connection
from timestore_assets.sources.kafka.lag import SourceLag
from timestore_assets.sources.kafka.reader import TopicReader
from timestore_assets.sources.kafka.survey import Surveyor


class KafkaTopics:
    """`group`: consumer group that offsets are mirrored to."""

    def __init__(self, connection: Connection, source: KafkaSource, *, group: str) -> None:
        self._connection, self._source, self._group = connection, source, group
        self._surveyor = Surveyor(connection, source)

    def look(self, known: Sequence[TopicPartition]) -> SourceLag:
        """See `Surveyor.look`."""
        return self._surveyor.look(known)

    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]:
        """See `Surveyor.ask_ids`."""
        return self._surveyor.ask_ids(topics)

    def reader(self) -> TopicReader:
        return TopicReader(self._connection, self._source, group=self._group)

    def producer_config(self) -> Mapping[str, Any]:
        """Options for a producer on the same cluster."""
        return self._connection.config()
