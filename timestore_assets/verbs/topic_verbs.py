"""Topics land, and how far that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import Dataset, KafkaSource
from timestore_assets.model.errors import TimestoreError
from timestore_assets.verbs.building_verbs import BuildingVerbs

if TYPE_CHECKING:
    from timestore_assets.catalog.records import DatasetRecord
    from timestore_assets.landing.topics.session_options import SessionLimits, StreamProgress, StreamReport
    from timestore_assets.sources.kafka.kafka_topics import KafkaTopics
    from timestore_assets.sources.kafka.lag import SourceLag
    from timestore_assets.sources.kafka.sharding import Shard


class TopicVerbs(BuildingVerbs):
    """Sessions on topics, which give way to what is not built yet, and their lag."""

    def stream(
        self,
        name: str,
        source: KafkaSource,
        *,
        shard: Shard | None = None,
        limits: SessionLimits | None = None,
        progress: StreamProgress | None = None,
        stop: threading.Event | None = None,
        patience: timedelta = timedelta(0),
        waiting: Callable[[str], None] = lambda _: None,
        actor: str = "command line",
    ) -> StreamReport:
        """Run a landing session on a source's topics; see `landing.topics.streamer.Streamer.stream`."""
        from timestore_assets.landing.topics.backpressure import Thresholds
        from timestore_assets.landing.topics.session_options import SessionLimits, SessionOptions
        from timestore_assets.landing.topics.streamer import Streamer
        from timestore_assets.sources.kafka.sharding import WHOLE

        dataset, record = self._in_use(name)
        topics = self._topics(name, source)
        streamer = Streamer(self.writing)
        with self._dead_letters_forwarded(record, source, topics) as nudge:
            options = SessionOptions(
                shard=shard or WHOLE,
                limits=limits or SessionLimits(),
                gauge=lambda: self.backlog(name),
                marks=Thresholds.of(self.settings),
                pause_seconds=self.settings.backlog_pause_seconds,
                stop=stop or threading.Event(),
                progress=progress,
                after_commit=nudge,
                patience=patience,
                waiting=waiting,
                actor=actor,
            )
            return streamer.stream(dataset, source, topics, options)

    def _dead_letters_forwarded(
        self, record: DatasetRecord, source: KafkaSource, topics: KafkaTopics
    ) -> AbstractContextManager[Callable[[], None]]:
        """While entered, dead letters go to the source's topic for them, if it has one; gives what to call after a commit."""
        if source.dead_letter_topic is None:
            return nullcontext(lambda: None)
        from timestore_assets.landing.dead_letters.dead_letter_topic import forward, forwarded_beside

        config = topics.producer_config()
        return forwarded_beside(lambda: forward(self.catalog, self.storage, record, source, config))

    def _topics(self, name: str, source: KafkaSource) -> KafkaTopics:
        from timestore_assets.sources.kafka.kafka_client import connection_of
        from timestore_assets.sources.kafka.kafka_topics import KafkaTopics

        connection = connection_of(self.settings, source.bootstrap_servers)
        return KafkaTopics(connection, source, group=source.group_of(name))

    def lag(self, name: str, source: KafkaSource, *, timeout_seconds: float = 5.0) -> SourceLag:
        """How far a source's topics have been read.

        Raises:
            UnavailableError: no cluster is configured or none answers in time. InputError: it refuses us.
        """
        from timestore_assets.sources.kafka.kafka_client import connection_of
        from timestore_assets.sources.kafka.kafka_topics import Surveyor

        _, record = self.resolve(name)
        known = self.catalog.sources.ensure(record.id, source.kind, source.address)
        surveyor = Surveyor(connection_of(self.settings, source.bootstrap_servers), source, timeout_seconds=timeout_seconds)
        return surveyor.look(self.catalog.topics.partitions(known.id))

    def lags(self, dataset: Dataset, *, timeout_seconds: float) -> dict[str, int | None]:
        """Records not read yet by address of the dataset's topic sources; None where the brokers don't say in time."""
        found: dict[str, int | None] = {}
        for source in dataset.kafka_sources:
            found[source.address] = None
            with suppress(TimestoreError):
                found[source.address] = self.lag(dataset.name, source, timeout_seconds=timeout_seconds).lag
        return found
