"""Reads topic partitions from given offsets on, in batches bounded by rows, bytes and age; a thread of its own does it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from timestore_assets.extras import extra
from timestore_assets.model.dataset import FlushPolicy, KafkaSource
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.sources.batches import Batch, RecordMetadata
from timestore_assets.sources.kafka.kafka_client import KafkaConnection, ReportedErrors, error_of, explained
from timestore_assets.sources.kafka.lag import Key
from timestore_assets.sources.kafka.messages import GatheredMessages, Ints, MessageChunk, has_events

with extra("kafka"):
    from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

LOG = logging.getLogger(__name__)
MESSAGES_A_CALL = 500
"""Fewer than the interpreter makes before it looks for garbage (700): the client's messages count, and with more of them at a
time it looks through all of them again and again, and through all that the process has, for a third of the reader's time."""
_ROWS_A_CHUNK = 10_000
_MIRROR_SECONDS = 2.0
_CLOSE_SECONDS = 3.0
_PATIENCE_SECONDS = 30.0
_STALLED_SECONDS = 15.0
"""Much longer than an answer of living brokers takes."""
_GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a reader trades throughput for freshness."""

    #: How long the client gathers messages before it hands them over.
    poll_seconds: float
    #: How long a broker may hold back an answer that is empty.
    wait_ms: int
    #: What is fetched ahead at most.
    queued_kilobytes: int


MUCH = Pace(poll_seconds=0.1, wait_ms=100, queued_kilobytes=48_000)
SOON = Pace(poll_seconds=0.02, wait_ms=50, queued_kilobytes=8_000)


@dataclass(kw_only=True)
class FetchedMessages:
    """What was read since the last one."""

    chunks: list[MessageChunk] = field(default_factory=list)
    #: Next offset by topic partition, which may move on without a record (control records, compaction).
    ends: dict[Key, int] = field(default_factory=dict)
    #: Those that were read to their end.
    at_end: set[Key] = field(default_factory=set)
    #: Those whose next offset the broker no longer has.
    gone: set[Key] = field(default_factory=set)
    began: float = 0.0
    #: Of one topic, None where there may be several.
    topic: str | None = None
    #: Of all that was read.
    rows: int = 0
    bytes: int = 0
    _gathered: GatheredMessages | None = field(default=None, init=False)

    def add(self, messages: Sequence[Message]) -> None:
        """Take in what was read next; `ends` and `chunks` have it after `settle`."""
        gathered = self._gathered = self._gathered or GatheredMessages(self.topic)
        before = gathered.size
        gathered.add(messages)
        self.rows += len(messages)
        self.bytes += gathered.size - before
        if gathered.rows >= _ROWS_A_CHUNK:
            self.settle()

    def settle(self, *, moves_ends: bool = True) -> None:
        """Make a chunk of what was taken in. `moves_ends`: it came after the ends that are known here."""
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            chunk = gathered.chunk()
            if moves_ends:
                self.at_end.difference_update(chunk.keys)
            self.chunks.append(chunk)
            for key, end in chunk.ends.items():
                self.ends[key] = max(end, self.ends.get(key, 0))

    def joined(self, later: FetchedMessages) -> FetchedMessages:
        """This and what was read next as one."""
        return FetchedMessages(
            chunks=[*self.chunks, *later.chunks],
            ends={key: max(end, self.ends.get(key, 0)) for key, end in (self.ends | later.ends).items()},
            at_end=(self.at_end - later.delivered) | later.at_end,
            gone=self.gone | later.gone,
            began=self.began or later.began,
            rows=self.rows + later.rows,
            bytes=self.bytes + later.bytes,
        )

    @property
    def delivered(self) -> set[Key]:
        """Topic partitions that records came from."""
        return {key for chunk in self.chunks for key in chunk.keys}

    def batch(self, ids: Mapping[Key, int]) -> Batch:
        """The records as a batch; `ids`: the source partitions by topic partition."""
        sources = [np.array([ids[key] for key in chunk.keys], np.int64)[chunk.places] for chunk in self.chunks]
        values = pa.chunked_array([chunk.values for chunk in self.chunks], pa.binary())
        rows = _Rows(self.chunks)
        return Batch(
            encoding="json",
            records=pa.table({"value": values}),
            positions=pa.array(_joined([chunk.offsets for chunk in self.chunks])),
            lines=None,
            bad=(),
            raw=rows.raw,
            source_partitions=pa.array(_joined(sources)),
            envelope=rows.envelope,
        )


class _Rows:
    """Single records of several chunks by their index over all."""

    def __init__(self, chunks: Sequence[MessageChunk]) -> None:
        self._chunks = chunks
        self._ends = np.cumsum([chunk.rows for chunk in chunks])

    def raw(self, index: int) -> bytes | None:
        chunk, row = self._at(index)
        value: bytes | None = chunk.values[row].as_py()
        return value

    def envelope(self, index: int) -> RecordMetadata:
        chunk, row = self._at(index)
        return chunk.envelope(row)

    def _at(self, index: int) -> tuple[MessageChunk, int]:
        which = int(np.searchsorted(self._ends, index, side="right"))
        chunk = self._chunks[which]
        return chunk, index - int(self._ends[which]) + chunk.rows


class TopicReader:
    """One consumer with a static assignment. `take` gives what its thread has read; two batches are in memory at most."""

    def __init__(
        self,
        connection: KafkaConnection,
        source: KafkaSource,
        *,
        group: str,
        pace: Pace = MUCH,
    ) -> None:
        self._connection, self._flush, self._poll_seconds = connection, source.flush, pace.poll_seconds
        self._only_topic = source.topics[0] if len(source.topics) == 1 else None
        self._troubles = ReportedErrors()
        with explained(connection, "connecting", self._troubles):
            self._consumer = Consumer(
                connection.config(
                    self._troubles,
                    group_id=group,
                    enable_auto_commit=False,
                    enable_auto_offset_store=False,
                    enable_partition_eof=True,
                    auto_offset_reset="error",
                    isolation_level=source.isolation,
                    queued_min_messages=200_000,
                    queued_max_messages_kbytes=pace.queued_kilobytes,
                    fetch_queue_backoff_ms=50,
                    fetch_wait_max_ms=pace.wait_ms,
                    fetch_max_bytes=16_000_000,
                    max_partition_fetch_bytes=4_000_000,
                )
            )
        self._assigned: set[Key] = set()
        self._read_to: dict[Key, int] = {}
        self._heard = time.monotonic()
        self._paused = False
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._ready: queue.Queue[FetchedMessages | TimestoreError] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._run, name="topic-reader", daemon=True)

    # --- by the session

    def assign(self, offsets: Mapping[Key, int]) -> None:
        """Read these topic partitions too, from the given offsets on."""
        places = [TopicPartition(topic, number, at) for (topic, number), at in offsets.items()]

        def work() -> None:
            self._consumer.incremental_assign(places)
            if self._paused:
                self._consumer.pause(places)

        self._assigned |= offsets.keys()
        self._read_to.update(offsets)
        self._heard = time.monotonic()
        self._do("reading", work)

    def drop(self, keys: Iterable[Key]) -> None:
        """Read these topic partitions no more; what was read of them may still be given."""
        dropped = self._assigned & set(keys)
        self._assigned -= dropped
        if dropped:
            self._do("reading", lambda: self._consumer.incremental_unassign([TopicPartition(*key) for key in dropped]))

    def take(self, timeout: float) -> FetchedMessages | None:
        """What was read since; None when that is nothing after so many seconds.

        Raises:
            InputError, UnavailableError: the client gave up.
        """
        try:
            found = self._ready.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, TimestoreError):
            raise found
        return found

    def pause(self) -> None:
        """Fetch no more from the brokers; what is buffered stays."""
        self._paused = True
        self._do("pausing", lambda: self._consumer.pause([TopicPartition(*key) for key in self._assigned]))

    def resume(self) -> None:
        self._paused, self._heard = False, time.monotonic()
        self._do("resuming", lambda: self._consumer.resume([TopicPartition(*key) for key in self._assigned]))

    def has_news(self) -> bool:
        """Whether `take` has something to give now."""
        return not self._ready.empty()

    def is_stalled(self, ends: Mapping[Key, int]) -> bool:
        """Whether the brokers have more than was read, up to these ends, and the client has delivered nothing for long.

        After its broker was started again it may wait for its next look at the metadata, which can be minutes away.
        """
        if self._paused or self.has_news() or time.monotonic() - self._heard < _STALLED_SECONDS:
            return False
        return any(end > self._read_to[key] for key, end in ends.items() if key in self._assigned)

    def in_trouble(self) -> bool:
        """Whether the client has reported trouble with its brokers since this was asked last; it may have passed by now."""
        troubled, self._troubles.last = self._troubles.last is not None, None
        return troubled

    def mirror(self, positions: Mapping[Key, int]) -> None:
        """Show the positions in the consumer group, for lag tools; nothing depends on them, so a failure is no error."""
        if positions:
            self._jobs.put(lambda: self._show(positions))

    def close(self, final: Mapping[Key, int] | None = None) -> None:
        """End the thread and the client, after showing the final positions if the brokers take them in time."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_PATIENCE_SECONDS)
        if final:
            self._settle(final)
        # when the brokers are gone the client waits nearly a minute for answers to what it has asked them
        closing = threading.Thread(target=self._consumer.close, name="topic-reader-close", daemon=True)
        closing.start()
        closing.join(timeout=_CLOSE_SECONDS)

    def _do(self, doing: str, work: Callable[[], None]) -> None:
        """Have the reading thread do something between two calls, and wait for it.

        The client must not be called from two threads: a commit beside a consume never comes back (confluent-kafka 2.16.1).
        """
        done: Future[None] = Future()

        def job() -> None:
            try:
                with explained(self._connection, doing, self._troubles):
                    work()
            except TimestoreError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._jobs.put(job)
        if not self._thread.is_alive() and not self._stopped.is_set():
            self._thread.start()
        try:
            done.result(_PATIENCE_SECONDS)
        except FutureTimeoutError:
            raise UnavailableError(f"{doing} from the Kafka brokers {self._connection.servers} got stuck") from None

    def _show(self, positions: Mapping[Key, int]) -> None:
        offsets = [TopicPartition(topic, number, at) for (topic, number), at in positions.items()]
        with suppress(KafkaException):
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def _settle(self, positions: Mapping[Key, int]) -> None:
        self._show(positions)
        limit = time.monotonic() + _MIRROR_SECONDS
        places = [TopicPartition(topic, number) for topic, number in positions]
        while time.monotonic() < limit:
            try:
                shown = self._consumer.committed(places, timeout=max(0.1, limit - time.monotonic()))
            except KafkaException:
                return
            if all(place.offset in (positions[place.topic, place.partition], OFFSET_INVALID) for place in shown):
                return

    # --- the thread

    def _run(self) -> None:
        try:
            current = FetchedMessages(topic=self._only_topic)
            while not self._stopped.is_set():
                self._work()
                self._read(current)
                if not _is_due(current, self._flush):
                    continue
                current.settle()
                self._read_to.update(current.ends)
                if self._give(current):
                    current = FetchedMessages(topic=self._only_topic)
        except TimestoreError as error:
            self._give(error)
        except KafkaException as error:
            self._give(error_of(self._connection, "reading", error.args[0], self._troubles))
        except Exception as error:  # a thread that only ended would leave its session waiting for ever
            LOG.exception("reading topics ended unexpectedly")
            trouble = f"reading topics ended unexpectedly ({type(error).__name__}); what is committed stays"
            self._give(UnavailableError(trouble))

    def _work(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()()

    def _read(self, into: FetchedMessages) -> None:
        room = max(1, min(MESSAGES_A_CALL, self._flush.rows - into.rows))
        messages = self._consumer.consume(room, self._poll_seconds)
        if not messages:
            return
        self._heard = time.monotonic()
        if not into.began:
            into.began = time.monotonic()
        if has_events(messages):
            into.settle()  # what was read before an end does not move it on
            records = self._without_events(messages, into)
            if records:
                into.add(records)
                into.settle(moves_ends=False)
        else:
            into.add(messages)
        self._read_to.update(into.ends)

    def _without_events(self, messages: Sequence[Message], into: FetchedMessages) -> list[Message]:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
                # a record after the end was reached: the end has moved on
                into.at_end.discard((message.topic() or "", message.partition() or 0))
                continue
            key = (message.topic() or "", -1 if message.partition() is None else int(message.partition() or 0))
            if error.code() == KafkaError._PARTITION_EOF:
                into.at_end.add(key)
                into.ends[key] = max(int(message.offset() or 0), into.ends.get(key, 0))
            elif error.code() in _GONE:
                into.gone.add(key)
            elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise error_of(self._connection, "reading", error, self._troubles)
        return records

    def _give(self, found: FetchedMessages | TimestoreError) -> bool:
        """Hand over; False when the session has not taken the one before and there is still room to read on."""
        while not self._stopped.is_set():
            self._work()
            try:
                self._ready.put(found, timeout=0.05)
                return True
            except queue.Full:
                if isinstance(found, FetchedMessages) and not _is_full(found, self._flush):
                    return False
        return False


def _is_due(found: FetchedMessages, flush: FlushPolicy) -> bool:
    if not (found.rows or found.ends or found.gone):
        return False
    return _is_full(found, flush) or time.monotonic() - found.began >= flush.age.total_seconds()


def _is_full(found: FetchedMessages, flush: FlushPolicy) -> bool:
    return found.rows >= flush.rows or found.bytes >= flush.bytes


def _joined(parts: Sequence[Ints]) -> Any:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
