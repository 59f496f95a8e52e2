"""Records to a topic by a producer that loses nothing silently, with bounded memory and bounded waiting."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError

with extra("kafka"):
    from confluent_kafka import KafkaError, KafkaException, Message, Producer

PREFIX = "timestore."
"""Of the names of headers that we add."""
QUEUED_KILOBYTES = 32_768
_LONGEST_BYTES = 16_000_000
_SHORTENED_BYTES = 65_536
"""What is kept of a value that the topic does not take whole."""
_LONG_HEADER_BYTES = 4_096
_TAKEN_OVER = ("acks", "enable.idempotence", "error_cb", "logger", "log_level")
_WAIT_SECONDS = 0.2

Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A record for a topic. `is_short`: its value has been cut."""

    value: bytes | None
    key: bytes | None
    headers: Headers
    is_short: bool = False

    @property
    def shortened(self) -> Outgoing:
        """The same with its value and key cut and long headers left out, so that every topic takes it."""
        headers: Headers = [one for one in self.headers if len(one[1] or b"") <= _LONG_HEADER_BYTES]
        key = None if self.key is None else self.key[:_LONG_HEADER_BYTES]
        value = None if self.value is None else self.value[:_SHORTENED_BYTES]
        return Outgoing(value=value, key=key, headers=[*headers, (f"{PREFIX}shortened", b"true")], is_short=True)


@dataclass(kw_only=True)
class Delivery:
    """Records on their way to the topic. `done`: acknowledged ones."""

    topic: str
    producer: Producer
    timeout_seconds: float
    done: int = 0
    sent: int = 0
    error: KafkaError | None = None
    _too_large: list[Outgoing] = field(default_factory=list, init=False)
    _seen: int = field(default=0, init=False)
    _since: float = field(default_factory=time.monotonic, init=False)

    def produce(self, record: Outgoing) -> None:
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

    def _queue(self, record: Outgoing) -> None:
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

    def _acknowledged(self, record: Outgoing, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.done += 1
        elif self._is_to_be_cut(error, record):
            self.sent -= 1
            self._too_large.append(record)
        elif self.error is None:
            self.error = error

    def _is_to_be_cut(self, error: KafkaError, record: Outgoing) -> bool:
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


def producer_of(client_config: Mapping[str, object], timeout_seconds: float) -> Producer:
    """A producer that loses nothing silently and queues little.

    Raises:
        InputError: librdkafka does not take the options.
    """
    given = {name: value for name, value in client_config.items() if name not in _TAKEN_OVER}
    own = {
        "acks": "all",
        "linger.ms": 20,
        "message.timeout.ms": int(timeout_seconds * 1000),
        "message.max.bytes": _LONGEST_BYTES,
        "queue.buffering.max.kbytes": QUEUED_KILOBYTES,
        "compression.type": "lz4",
        "log_level": 0,
    }
    try:
        return Producer({**given, **own})
    except KafkaException as error:
        raise InputError(f"the Kafka client does not take its settings: {error.args[0].str()}") from None
