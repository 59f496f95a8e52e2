"""Feeding a topic at a chosen rate, without running away from a broker that keeps only the newest records.

So it is counted how far the feed is ahead of those who land it, in bytes of each topic partition.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.sources.kafka.embedded import is_embedded
from timestore_assets.sources.kafka.kafka_client import KafkaConnection, ReportedErrors, explained

with extra("kafka"):
    from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

MOST_AHEAD_BYTES = 3_000_000
"""What may be written and not landed yet: well below what the embedded broker keeps, which it drops by whole batches."""
UNKNOWN_RECORD_BYTES = 600
"""Taken for a record that was there before the feed: its size isn't known, and too much only makes the feed wait."""


class SendWindow:
    """A ledger: bytes count from when they are sent until the checkpoint has passed them.

    Args:
        ends: of each partition the oldest and the next offset at the start of the feed.
        landed: next offset to land by partition; what is missing has landed nothing.
    """

    def __init__(self, ends: Mapping[int, tuple[int, int]], landed: Mapping[int, int], *, most: int = MOST_AHEAD_BYTES) -> None:
        self._most = most
        self._bytes = dict.fromkeys(ends, 0)
        self._written: dict[int, deque[tuple[int, int]]] = {number: deque() for number in ends}
        for number, (low, high) in ends.items():
            before = high - max(low, landed.get(number, low))
            if before > 0:
                self.sent(number, before * UNKNOWN_RECORD_BYTES)
                self.written(number, high - 1, before * UNKNOWN_RECORD_BYTES)

    def has_room(self, number: int, size: int) -> bool:
        """Whether so many bytes more may be sent; a single record always may."""
        return self._bytes[number] == 0 or self._bytes[number] + size <= self._most

    def sent(self, number: int, size: int) -> None:
        self._bytes[number] += size

    def written(self, number: int, offset: int, size: int) -> None:
        """The broker has the record at this offset; offsets of a partition come in order."""
        self._written[number].append((offset, size))

    def landed(self, checkpoints: Mapping[int, int]) -> bool:
        """Strike out what lies before the checkpoints (next offset by partition); whether that was anything."""
        before = sum(self._bytes.values())
        for number, position in checkpoints.items():
            written = self._written.get(number, deque())
            while written and written[0][0] < position:
                self._bytes[number] -= written.popleft()[1]
        return sum(self._bytes.values()) < before


PATIENCE_SECONDS = 120.0
"""How long nothing may move before a feed gives up."""
CALL_SECONDS = 10.0
PROGRESS_SECONDS = 0.5
_POLL_SECONDS = 0.1
_POLL_RECORDS = 500

Consumed = Callable[[str], Mapping[tuple[str, int], int]]
"""Given the cluster's id: next offset to land by (topic, partition); what is missing has landed nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedReport:
    """What was written so far. `bytes`: of keys and values. `by_partition`: records by partition number."""

    records: int
    bytes: int
    seconds: float
    by_partition: Mapping[int, int]


Progress = Callable[[FeedReport], None]


class TopicFeed:
    """Writes records into one topic, in order, each key always into the same partition.

    Args:
        consumed: asked on the embedded broker only, where what is too far ahead of landing would be lost; None to not care.
        patience: seconds in which nothing lands, or nothing is written, until the feed gives up.

    Raises:
        InputError: there is no such topic, or the broker refuses us.
        UnavailableError: the broker can't be reached.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, *, consumed: Consumed | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._connection, self._topic, self._patience = connection, topic, patience
        self._troubles = ReportedErrors()
        timeout = int(patience * 1000)
        self._producer = Producer(
            connection.config(self._troubles, enable_idempotence=True, linger_ms=20, message_timeout_ms=timeout)
        )
        with explained(connection, f"looking up topic {topic}", self._troubles):
            self._cluster, self._partitions = self._look_up()
            minding = consumed is not None and is_embedded(self._cluster)
            self._consumed = consumed if minding else None
            self._ahead = SendWindow(self._ends(), self._landed()) if minding else None
        self._refused: KafkaError | None = None
        self._records = self._bytes = 0
        self._by_partition = dict.fromkeys(range(self._partitions), 0)
        self._moved = self._asked = time.monotonic()

    def write(
        self,
        records: Iterable[tuple[str, str]],
        *,
        rate: float = 0,
        progress: Progress | None = None,
        done: Mapping[int, int] | None = None,
    ) -> FeedReport:
        """Write all records (key, value) and wait until the broker has them.

        Args:
            rate: records per second; 0 for as many as possible.
            progress: told what was written, about twice a second.
            done: by partition number how many of its first records are left out, because a feed before this wrote them.

        Raises:
            UnavailableError: the broker takes nothing, or nothing is landed, for as long as our patience lasts.
        """
        began = told = self._moved = time.monotonic()
        waited = 0.0
        every = max(1, min(_POLL_RECORDS, int(rate / 50))) if rate else _POLL_RECORDS
        for handed, (key, value) in enumerate(self._not_done(records, done or {}), 1):
            waited += self._write_one(key.encode(), value.encode())
            if handed % every == 0:
                # time lost by waiting for landing isn't made up for: that would be a burst
                self._poll_until(began + waited + handed / rate if rate else 0.0)
                if progress is not None and time.monotonic() - told >= PROGRESS_SECONDS:
                    told = time.monotonic()
                    progress(self._report(began))
        self._flush()
        report = self._report(began)
        if progress is not None:
            progress(report)
        return report

    def _not_done(self, records: Iterable[tuple[str, str]], done: Mapping[int, int]) -> Iterator[tuple[str, str]]:
        left = dict(done)
        for key, value in records:
            number = self._number(key.encode())
            if left.get(number, 0) > 0:
                left[number] -= 1
            else:
                yield key, value

    def _number(self, key: bytes) -> int:
        return zlib.crc32(key) % self._partitions

    def _write_one(self, key: bytes, value: bytes) -> float:
        """Returns the seconds spent on waiting for room."""
        number, size = self._number(key), len(key) + len(value)
        waited = self._wait_for_room(number, size)
        done = partial(self._delivered, size)
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key, partition=number, on_delivery=done)
            except BufferError:
                waited += self._wait(f"took no record of topic {self._topic}")
            else:
                break
        if self._ahead is not None:
            self._ahead.sent(number, size)
        return waited

    def _wait_for_room(self, number: int, size: int) -> float:
        waited = 0.0
        while self._ahead is not None and not self._ahead.has_room(number, size):
            if not self._landing_moved():
                waited += self._wait("")
        return waited

    def _landing_moved(self) -> bool:
        assert self._ahead is not None  # noqa: S101 - only asked where it is minded
        now = time.monotonic()
        if now - self._asked < _POLL_SECONDS:
            return False
        self._asked = now
        if moved := self._ahead.landed(self._landed()):
            self._moved = now
        return moved

    def _wait(self, what: str) -> float:
        began = time.monotonic()
        self._producer.poll(_POLL_SECONDS)
        self._raise_refusal()
        if began - self._moved > self._patience:
            raise UnavailableError(self._stuck() if len(self._producer) == 0 else self._not_taken(what))
        return time.monotonic() - began

    def _stuck(self) -> str:
        return (
            f"nothing of topic {self._topic} has landed for {self._patience:.0f} s, and the embedded broker would drop what"
            f" is further ahead; start a session that lands it (timestore stream, or timestore dev) and run this again"
        )

    def _not_taken(self, what: str) -> str:
        why = f": {self._troubles.last.str()}" if self._troubles.last else ""
        done = what or f"took no record of topic {self._topic}"
        return f"the broker at {self._connection.servers} {done} for {self._patience:.0f} s{why}"

    def _poll_until(self, due: float) -> None:
        self._producer.poll(0)
        while (left := due - time.monotonic()) > 0:
            self._producer.poll(min(left, _POLL_SECONDS))
        self._raise_refusal()

    def _flush(self) -> None:
        while len(self._producer):
            self._wait(f"did not confirm the last records of topic {self._topic}")
        self._raise_refusal()

    def _delivered(self, size: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused = self._refused or error
            return
        number, offset = message.partition(), message.offset()
        assert number is not None and offset is not None  # noqa: S101 - what is written has a place
        self._records += 1
        self._bytes += size
        self._by_partition[number] += 1
        if self._ahead is not None:
            self._ahead.written(number, offset, size)
        self._moved = time.monotonic()

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            problem = f"topic {self._topic} at {self._connection.servers} does not take our records: {self._refused.str()}"
            raise UnavailableError(problem)

    def _report(self, began: float) -> FeedReport:
        seconds = time.monotonic() - began
        return FeedReport(records=self._records, bytes=self._bytes, seconds=seconds, by_partition=dict(self._by_partition))

    def _landed(self) -> dict[int, int]:
        found = self._consumed(self._cluster) if self._consumed is not None else {}
        return {number: offset for (topic, number), offset in found.items() if topic == self._topic}

    def _look_up(self) -> tuple[str, int]:
        """The cluster's id and the topic's partitions; asking for a topic makes it where brokers are set up so."""
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            found = self._producer.list_topics(self._topic, timeout=CALL_SECONDS)
            topic = found.topics[self._topic]
            if topic.error is None and topic.partitions:
                return found.cluster_id or "", len(topic.partitions)
            if time.monotonic() > deadline:
                raise InputError(f"there is no topic {self._topic} at {self._connection.servers}, and it isn't made on demand")
            self._producer.poll(_POLL_SECONDS)

    def _ends(self) -> dict[int, tuple[int, int]]:
        looker = Consumer(self._connection.config(self._troubles, group_id="timestore-feed", enable_auto_commit=False))
        try:
            places = {number: TopicPartition(self._topic, number) for number in range(self._partitions)}
            return {n: looker.get_watermark_offsets(place, timeout=CALL_SECONDS) for n, place in places.items()}
        finally:
            looker.close()
