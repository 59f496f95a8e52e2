"""A Kafka source as landing sees it: something to survey and something to read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.model.dataset import FlushPolicy, KafkaSource
from timestore_assets.sources.kafka.client import Connection
from timestore_assets.sources.kafka.lag import SourceLag
from timestore_assets.sources.kafka.reader import SOON, TopicReader
from timestore_assets.sources.kafka.survey import TIMEOUT_SECONDS, Surveyor

_AT_ONCE = FlushPolicy(rows=20_000, bytes=8_000_000, age=timedelta(0))


class KafkaTopics:
    """`group`: consumer group that offsets are mirrored to. `timeout_seconds`: how long a look may take."""

    def __init__(
        self, connection: Connection, source: KafkaSource, *, group: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._connection, self._source, self._group = connection, source, group
        self._surveyor = Surveyor(connection, source, timeout_seconds=timeout_seconds)

    def look(self, known: Sequence[TopicPartition]) -> SourceLag:
        """See `Surveyor.look`."""
        return self._surveyor.look(known)

    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]:
        """See `Surveyor.ask_ids`."""
        return self._surveyor.ask_ids(topics)

    def reader(self) -> TopicReader:
        return TopicReader(self._connection, self._source, group=self._group)

    def tailing_reader(self) -> TopicReader:
        """A reader that gives records soon after they were produced, in small batches, and fetches little ahead."""
        source = replace(self._source, flush=_AT_ONCE)
        return TopicReader(self._connection, source, group=self._group, pace=SOON)

    def producer_config(self) -> Mapping[str, Any]:
        """Options for a producer on the same cluster."""
        return self._connection.config()
