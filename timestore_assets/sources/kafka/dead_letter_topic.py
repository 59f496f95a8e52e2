"""Dead letters to the topic that their source declares, for whoever mends them where they come from.

At least once: a file is marked as forwarded only after the brokers have acknowledged all of its records, so a failure or a crash
before that produces some of them again. The catalog is the truth about what was refused; the topic is a copy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord, DeadLetterFile, SourceRecord
from timestore_assets.model.dataset import KafkaSource
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.model.window import format_time
from timestore_assets.storage.port import ObjectStore

TIMEOUT_SECONDS = 30.0
_ROWS_READ = 500
_QUEUED_KILOBYTES = 32_768
_LONGEST_BYTES = 16_000_000
_SHORTENED_BYTES = 65_536
"""What is kept of a value that the topic does not take whole; the store has all of it."""
_PREFIX = "timestore."
_TAKEN_OVER = ("acks", "enable.idempotence", "error_cb", "logger", "log_level")
_WAIT_SECONDS = 0.2

Headers = list[tuple[str, str | bytes | None]]


def forward(
    catalog: Catalog,
    store: ObjectStore,
    dataset: DatasetRecord,
    source: KafkaSource,
    client_config: Mapping[str, object],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> int:
    """Produce the refused records of a source that wait for it to its dead-letter topic; returns how many.

    Value and key are the original ones; to the original headers come `timestore.reason`, `.code`, `.topic`, `.partition`,
    `.offset` and `.timestamp` (RFC 3339, UTC), as text. A value that is too large for the topic is cut to 64 KiB and says so by
    `timestore.shortened`. Memory is bounded by 32 MB of records under way and one row group of a file.

    Args:
        catalog: says which files wait. A source without a dead-letter topic has none.
        store: holds them.
        dataset: whose dead letters they are.
        source: of `dataset`, as declared now.
        client_config: options of confluent-kafka that lead to the cluster.
        timeout_seconds: without any acknowledgement for so long, it gives up.

    Raises:
        UnavailableError: the brokers don't take them, or an object can't be read; files not finished stay marked.
    """
    if source.dead_letter_topic is None:
        return 0
    waiting = [
        file
        for origin, file, _ in catalog.dead_letter_files(dataset.id)
        if file.forward and (origin.kind, origin.address) == (source.kind, source.address)
    ]
    if not waiting:
        return 0
    origin = catalog.source(dataset.id, source.kind, source.address)
    producer = _producer(client_config, timeout_seconds)
    delivery = _Delivery(topic=source.dead_letter_topic, producer=producer, timeout_seconds=timeout_seconds)
    try:
        for file in waiting:
            for record in _records(catalog, store, origin, file):
                delivery.produce(record)
            delivery.finish()
            catalog.forwarded([file.id])
    except KafkaException as error:
        raise delivery.failed(error.args[0]) from None
    finally:
        delivery.abandon()
    return delivery.done


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    value: bytes | None
    key: bytes | None
    headers: Headers
    is_short: bool = False

    @property
    def shortened(self) -> _Record:
        headers: Headers = [*self.headers, (f"{_PREFIX}shortened", b"true")]
        return replace(self, value=(self.value or b"")[:_SHORTENED_BYTES], headers=headers, is_short=True)


@dataclass(kw_only=True)
class _Delivery:
    """Records on their way to the topic. `done`: acknowledged ones."""

    topic: str
    producer: Producer
    timeout_seconds: float
    done: int = 0
    sent: int = 0
    error: KafkaError | None = None
    _too_large: list[_Record] = field(default_factory=list, init=False)
    _seen: int = field(default=0, init=False)
    _since: float = field(default_factory=time.monotonic, init=False)

    def produce(self, record: _Record) -> None:
        """Queue one record, waiting for room while the brokers are slow."""
        self._queue(record)
        while self._too_large:
            self._queue(self._too_large.pop().shortened)

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        while self.done < self.sent or self._too_large:
            self._check()
            while self._too_large:
                self._queue(self._too_large.pop().shortened)
            self.producer.flush(_WAIT_SECONDS)
        self._check()

    def _queue(self, record: _Record) -> None:
        acknowledged = partial(self._acknowledged, record)
        while True:
            self._check()
            try:
                self.producer.produce(self.topic, record.value, record.key, headers=record.headers, on_delivery=acknowledged)
            except BufferError:
                self.producer.poll(_WAIT_SECONDS)
                continue
            except KafkaException as error:
                if not self._is_to_be_cut(error.args[0], record):
                    raise
                record = record.shortened
                acknowledged = partial(self._acknowledged, record)
                continue
            self.sent += 1
            self.producer.poll(0)
            return

    def abandon(self) -> None:
        """Forget what is still under way."""
        self.producer.purge()
        self.producer.flush(_WAIT_SECONDS)

    def failed(self, error: KafkaError) -> TimestoreError:
        rest = "they stay marked and are tried again"
        return UnavailableError(f"dead letters can't be produced to topic {self.topic!r} ({error.str()}); {rest}")

    def _acknowledged(self, record: _Record, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.done += 1
        elif self._is_to_be_cut(error, record):
            self.sent -= 1
            self._too_large.append(record)
        elif self.error is None:
            self.error = error

    def _is_to_be_cut(self, error: KafkaError, record: _Record) -> bool:
        return error.code() == KafkaError.MSG_SIZE_TOO_LARGE and not record.is_short

    def _check(self) -> None:
        if self.error is not None:
            raise self.failed(self.error)
        now = time.monotonic()
        if self.done > self._seen or self.done == self.sent:
            self._seen, self._since = self.done, now
        elif now - self._since > self.timeout_seconds:
            raise UnavailableError(
                f"topic {self.topic!r} did not acknowledge dead letters within {self.timeout_seconds:g} s; "
                "they stay marked and are tried again"
            )


def _producer(client_config: Mapping[str, object], timeout_seconds: float) -> Producer:
    """A producer that loses nothing silently and queues little."""
    config = {name: value for name, value in client_config.items() if name not in _TAKEN_OVER}
    return Producer(
        {
            **config,
            "acks": "all",
            "linger.ms": 20,
            "message.timeout.ms": int(timeout_seconds * 1000),
            "message.max.bytes": _LONGEST_BYTES,
            "queue.buffering.max.kbytes": _QUEUED_KILOBYTES,
            "compression.type": "lz4",
            "log_level": 0,
        }
    )


def _records(catalog: Catalog, store: ObjectStore, origin: SourceRecord, file: DeadLetterFile) -> Iterator[_Record]:
    places = {one.id: (one.topic, one.number) for one in catalog.topic_partitions(origin.id)}
    path = store.local_path(file.name)
    try:
        with pq.ParquetFile(path) as opened:
            for piece in opened.iter_batches(batch_size=_ROWS_READ):
                yield from (_record(row, places) for row in piece.to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(f"dead letters {file.name} can't be read: {error}; `timestore verify` says more") from None


def _record(row: Mapping[str, Any], places: Mapping[int, tuple[str, int]]) -> _Record:
    # a topic that was deleted and made again since is known by its source's address alone
    topic, number = places.get(row["source_partition"], (row["source"], None))
    about = {
        "reason": row["reason"],
        "code": row["code"],
        "topic": topic,
        "partition": None if number is None else str(number),
        "offset": str(row["position"]),
        "timestamp": format_time(row["timestamp"]) if row["timestamp"] else None,
    }
    original = [(one["name"], one["value"]) for one in row["headers"] or ()]
    added: Headers = [(f"{_PREFIX}{name}", None if value is None else value.encode()) for name, value in about.items()]
    return _Record(value=row["raw"], key=row["key"], headers=[*original, *added])
