"""Messages of the client as columns, with as little Python for each of them as the client allows.

Unbound methods mapped over the list cost 30 to 60 ns a message and field; a comprehension costs three times that. The messages
themselves are let go at once: holding a batch of them costs more, in memory not reused, than taking all their fields out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.extras import extra
from timestore_assets.sources.batches import RecordMetadata
from timestore_assets.sources.kafka.lag import Key

with extra("kafka"):
    from confluent_kafka import Message

LOG = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]

_value = cast(Callable[[Message], bytes | None], Message.value)
_offset = cast(Callable[[Message], int], Message.offset)
_partition = cast(Callable[[Message], int], Message.partition)
_topic = cast(Callable[[Message], str], Message.topic)
_error = cast(Callable[[Message], Any], Message.error)
_key = cast(Callable[[Message], bytes | str | None], Message.key)
_headers = cast(Callable[[Message], Any], Message.headers)
_timestamp = cast(Callable[[Message], tuple[int, int]], Message.timestamp)
_second = itemgetter(1)
_LAST_MILLIS = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageChunk:
    """Messages of some calls of the client.

    `message_keys`, `headers`: None when no message has any.
    """

    values: pa.Array[Any]
    offsets: Ints
    #: Of each, the index of its topic partition in `keys`.
    places: Ints
    keys: tuple[Key, ...]
    #: By topic partition the offset after its last message here.
    ends: Mapping[Key, int]
    #: Bytes of the values.
    size: int
    #: Milliseconds since 1970, not positive where a message has none.
    timestamps: Ints
    message_keys: Sequence[bytes | str | None] | None
    headers: Sequence[Any] | None

    @property
    def rows(self) -> int:
        return len(self.offsets)

    def envelope(self, index: int) -> RecordMetadata:
        """What came with a record beside its value."""
        millis = int(self.timestamps[index])
        millis = millis if millis <= _LAST_MILLIS else 0  # a producer may write what no calendar holds
        key = None if self.message_keys is None else self.message_keys[index]
        headers = None if self.headers is None else self.headers[index]
        pairs = headers.items() if isinstance(headers, dict) else headers or ()
        return RecordMetadata(
            key=key.encode() if isinstance(key, str) else key,
            headers=tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs),
            timestamp=datetime.fromtimestamp(millis / 1000, UTC) if millis > 0 else None,
        )


def has_events(messages: Sequence[Message]) -> bool:
    """Whether any of the messages is none, but an event of the client (an error, the end of a partition)."""
    return any(map(_error, messages))


def as_chunk(messages: Sequence[Message], *, topic: str | None = None) -> MessageChunk:
    """Lay out messages, none of which is an event, as columns. `topic`: of all of them, None when there may be several."""
    gathered = GatheredMessages(topic)
    gathered.add(messages)
    return gathered.chunk()


class GatheredMessages:
    """Messages of several calls of the client that become one chunk, so that what NumPy costs a call is paid once for all."""

    def __init__(self, topic: str | None) -> None:
        self._topic = topic
        self._values, self._topics = list[bytes](), list[str]()
        self._lengths, self._offsets = list[npt.NDArray[np.int32]](), list[Ints]()
        self._numbers, self._timestamps = list[Ints](), list[Ints]()
        self._message_keys, self._headers = list[Any](), list[Any]()
        self.rows = 0
        self.size = 0
        """Bytes of the values."""

    def add(self, messages: Sequence[Message]) -> None:
        """Take all out of messages none of which is an event."""
        count = len(messages)
        joined, lengths = _values(messages)
        self._values.append(joined)
        self._lengths.append(lengths)
        self._offsets.append(np.fromiter(map(_offset, messages), np.int64, count))
        self._numbers.append(np.fromiter(map(_partition, messages), np.int64, count))
        self._timestamps.append(np.fromiter(map(_second, map(_timestamp, messages)), np.int64, count))
        if self._topic is None:
            self._topics.extend(map(_topic, messages))
        self._message_keys.extend(_taken(_key, messages))
        self._headers.extend(_taken(_headers, messages))
        self.rows += count
        self.size += len(joined)

    def chunk(self) -> MessageChunk:
        """What was gathered, at least one message, as columns."""
        offsets, numbers = np.concatenate(self._offsets), np.concatenate(self._numbers)
        keys, places = self._places(numbers)
        ends = np.zeros(len(keys), np.int64)
        np.maximum.at(ends, places, offsets + 1)
        message_keys, headers = self._message_keys, self._headers
        return MessageChunk(
            values=_binary(np.concatenate(self._lengths), b"".join(self._values)),
            offsets=offsets,
            places=places,
            keys=keys,
            ends=dict(zip(keys, ends.tolist(), strict=True)),
            size=self.size,
            timestamps=np.concatenate(self._timestamps),
            message_keys=None if message_keys.count(None) == self.rows else message_keys,
            headers=None if headers.count(None) == self.rows else headers,
        )

    def _places(self, numbers: Ints) -> tuple[tuple[Key, ...], Ints]:
        """The topic partitions that occur, and of each message the index of its own."""
        if self._topic is not None:
            distinct = np.flatnonzero(np.bincount(numbers))
            return tuple((self._topic, int(number)) for number in distinct), np.searchsorted(distinct, numbers)
        names = pa.array(self._topics).dictionary_encode()
        code = names.indices.to_numpy().astype(np.int64) << 32 | numbers
        distinct, places = np.unique(code, return_inverse=True)
        texts = names.dictionary.to_pylist()
        return tuple((texts[int(one) >> 32], int(one) & 0xFFFFFFFF) for one in distinct), places.astype(np.int64)


def _taken(field: Callable[[Message], Any], messages: Sequence[Message]) -> list[Any]:
    """What came beside the values; nothing from a message whose names are no text, which so costs no other its own."""
    try:
        return list(map(field, messages))
    except Exception:  # whatever the client raises, it is about one message
        return [_taken_alone(field, message) for message in messages]


def _taken_alone(field: Callable[[Message], Any], message: Message) -> Any:
    try:
        return field(message)
    except Exception:
        LOG.warning("a message of %s brings what can't be read beside its value", _topic(message), exc_info=True)
        return None


def _values(messages: Sequence[Message]) -> tuple[bytes, npt.NDArray[np.int32]]:
    """The values one behind the other, and how long each is; less than nothing where there is none."""
    values = list(map(_value, messages))
    try:
        joined = b"".join(cast(list[bytes], values))
    except TypeError:  # a tombstone has no value
        lengths = (-1 if value is None else len(value) for value in values)
        return b"".join(value or b"" for value in values), np.fromiter(lengths, np.int32, len(values))
    return joined, np.fromiter(map(len, cast(list[bytes], values)), np.int32, len(values))


def _binary(lengths: npt.NDArray[np.int32], joined: bytes) -> pa.Array[Any]:
    """The values that stand one behind the other as an array, those of less than no length being null."""
    missing = lengths < 0
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(np.maximum(lengths, 0), out=ends[1:])
    return pa.Array.from_buffers(pa.binary(), len(lengths), [validity, pa.py_buffer(ends), pa.py_buffer(joined)])
