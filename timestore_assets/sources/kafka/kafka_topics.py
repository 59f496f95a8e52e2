"""A Kafka source as landing sees it: something to survey and something to read.

Where the topics stand is asked of the brokers in a few requests, however many partitions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from timestore_assets.catalog.records import TopicPartition as KnownPartition
from timestore_assets.extras import extra
from timestore_assets.model.dataset import FlushPolicy, KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.sources.kafka.kafka_client import KafkaConnection, ReportedErrors, explained
from timestore_assets.sources.kafka.lag import ClusterView, Key, SourceLag, TopicView, compare
from timestore_assets.sources.kafka.topic_reader import SOON, TopicReader

with extra("kafka"):
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec

TIMEOUT_SECONDS = 5.0
_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call] # the client's have no types
_NOT_TOLD = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
)
_EMBEDDED = "mockCluster"
"""What the ids of librdkafka's own clusters begin with; they know no topic ids and never answer when asked for them."""


class Surveyor:
    """Keeps one client for repeated looks at a source."""

    def __init__(self, connection: KafkaConnection, source: KafkaSource, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._connection, self._source, self._timeout = connection, source, timeout_seconds
        self._troubles = ReportedErrors()
        self._embedded = False
        with explained(connection, "connecting"):
            self._admin = AdminClient(connection.config(self._troubles, socket_timeout_ms=int(timeout_seconds * 1000)))

    def look(self, known: Sequence[KnownPartition]) -> SourceLag:
        """Where every topic partition of the source stands.

        Raises:
            UnavailableError: no broker answers in time. InputError: they refuse us.
        """
        self._troubles.last = None  # what was said of troubles that have passed explains nothing
        with explained(self._connection, "listing offsets", self._troubles), self._told():
            view = self._view()
            read_before = {one.topic for one in known if one.cluster_id == view.cluster_id}
            fresh = [topic for name, topic in view.topics.items() if name not in read_before]
            return compare(view, known, self._source.topics, self._starts(fresh))

    def offsets_at(self, topic: str, numbers: Sequence[int], time: datetime) -> Mapping[int, int]:
        """Of these partitions the first offset of that time or later, by the times of the records; without one it is missing.

        Raises:
            UnavailableError: no broker answers in time. InputError: they refuse us, or have deleted records, so that nobody can
                tell where that time begins.
        """
        places = [TopicPartition(topic, number) for number in numbers]
        with explained(self._connection, "looking for offsets", self._troubles), self._told():
            at = OffsetSpec.for_timestamp(int(time.timestamp() * 1000))
            lows, found = self._offsets([(places, _EARLIEST), (places, at)])
        for (_, number), low in lows.items():
            if low and found[topic, number] == low:
                raise InputError(
                    f"the brokers have deleted what lay before offset {low} of {topic}/{number}, and that may be as new as "
                    f"{time:%Y-%m-%dT%H:%M:%SZ}; give offsets instead"
                )
        return {number: offset for (_, number), offset in found.items() if offset >= 0}

    def ask_ids(self, topics: Collection[str]) -> Callable[[], Mapping[str, str]]:
        """Ask for topics' ids and go on with something else; the call waits for those that can be had, and gives them."""
        if self._embedded or not topics:
            return dict
        futures = self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=self._timeout)

        def answer() -> dict[str, str]:
            found = {}
            for name, future in futures.items():
                with suppress(KafkaException, UnavailableError):
                    found[name] = str(self._result(future).topic_id)
            return found

        return answer

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let the client say why it can't connect: it does so only when it is asked."""
        try:
            yield
        except KafkaException:
            self._admin.poll(0)
            raise

    def _view(self) -> ClusterView:
        metadata = self._admin.list_topics(timeout=self._timeout)
        wanted = [name for name in self._source.topics if name in metadata.topics and metadata.topics[name].error is None]
        # one without a leader can't be read for now, which is no reason to leave the others
        places = [
            TopicPartition(name, number)
            for name in wanted
            for number, partition in metadata.topics[name].partitions.items()
            if partition.leader >= 0
        ]
        lows, end_offsets = self._offsets([(places, _EARLIEST), (places, _LATEST)])
        cluster_id = metadata.cluster_id or "unknown"
        self._embedded = cluster_id.startswith(_EMBEDDED)
        ids = {} if self._embedded else self._topic_ids(wanted)
        topics = {}
        for name in wanted:
            numbers = [number for topic, number in lows if topic == name]
            ends = {number: (lows[name, number], end_offsets[name, number]) for number in sorted(numbers)}
            topics[name] = TopicView(topic=name, ends=ends, topic_id=ids.get(name))
        return ClusterView(cluster_id=cluster_id, topics=topics)

    def _offsets(self, questions: Iterable[tuple[Sequence[TopicPartition], OffsetSpec]]) -> list[dict[Key, int]]:
        isolation = IsolationLevel[self._source.isolation.upper()]
        asked = [
            self._admin.list_offsets(dict.fromkeys(places, spec), isolation_level=isolation, request_timeout=self._timeout)
            if places
            else {}
            for places, spec in questions
        ]
        return [
            {(place.topic, place.partition): self._result(future).offset for place, future in futures.items()}
            for futures in asked
        ]

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(timeout=self._timeout + 1)
        except FutureTimeoutError:
            raise UnavailableError(
                f"the Kafka brokers {self._connection.servers} did not answer in {self._timeout:g} s"
            ) from None

    def _topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Ids of the topics, as far as the brokers and our rights allow."""
        if not topics:
            return {}
        try:
            futures = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self._timeout)
            found = {name: self._result(future).topic_id for name, future in futures.items()}
        except KafkaException as error:
            # without its id a topic that was made again can't be told from one that lost its end: no guess after a fault
            if error.args[0].code() not in _NOT_TOLD:
                raise
            return {}
        return {name: str(topic_id) for name, topic_id in found.items() if topic_id is not None}

    def _starts(self, fresh: Sequence[TopicView]) -> Mapping[Key, int]:
        """Where the start policy begins topics that were never read."""
        policy = self._source.start
        ends = {(view.topic, number): pair for view in fresh for number, pair in view.ends.items()}
        if not isinstance(policy, datetime):
            return {key: low if policy == "earliest" else high for key, (low, high) in ends.items()}
        places = [TopicPartition(topic, number) for topic, number in ends]
        (found,) = self._offsets([(places, OffsetSpec.for_timestamp(int(policy.timestamp() * 1000)))])
        # no record of that time or later is told as -1: then all that comes is newer
        return {key: offset if offset >= 0 else ends[key][1] for key, offset in found.items()}


_AT_ONCE = FlushPolicy(rows=20_000, bytes=8_000_000, age=timedelta(0))


class KafkaTopics:
    """`group`: consumer group that offsets are mirrored to. `timeout_seconds`: how long a look may take."""

    def __init__(
        self, connection: KafkaConnection, source: KafkaSource, *, group: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._connection, self._source, self._group = connection, source, group
        self._surveyor = Surveyor(connection, source, timeout_seconds=timeout_seconds)

    def look(self, known: Sequence[KnownPartition]) -> SourceLag:
        """See `Surveyor.look`."""
        return self._surveyor.look(known)

    def offsets_at(self, topic: str, numbers: Sequence[int], time: datetime) -> Mapping[int, int]:
        """See `Surveyor.offsets_at`."""
        return self._surveyor.offsets_at(topic, numbers, time)

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
