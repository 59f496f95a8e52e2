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
    """Messages of one call of the client.

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
    count = len(messages)
    values, size = _values(messages)
    offsets = np.fromiter(map(_offset, messages), np.int64, count)
    numbers = np.fromiter(map(_partition, messages), np.int64, count)
    keys, places = _places(messages, numbers, topic)
    ends = np.zeros(len(keys), np.int64)
    np.maximum.at(ends, places, offsets + 1)
    message_keys, headers = _taken(_key, messages), _taken(_headers, messages)
    return MessageChunk(
        values=values,
        offsets=offsets,
        places=places,
        keys=keys,
        ends=dict(zip(keys, ends.tolist(), strict=True)),
        size=size,
        timestamps=np.fromiter(map(_second, map(_timestamp, messages)), np.int64, count),
        message_keys=None if message_keys.count(None) == count else message_keys,
        headers=None if headers.count(None) == count else headers,
    )


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


def _values(messages: Sequence[Message]) -> tuple[pa.Array[Any], int]:
    values = list(map(_value, messages))
    try:
        joined = b"".join(cast(list[bytes], values))
    except TypeError:  # a tombstone has no value
        return pa.array(values, pa.binary()), sum(len(value) for value in values if value is not None)
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, cast(list[bytes], values)), np.int32, len(values)), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers), len(joined)


def _places(messages: Sequence[Message], numbers: Ints, topic: str | None) -> tuple[tuple[Key, ...], Ints]:
    """The topic partitions that occur, and of each message the index of its own."""
    if topic is not None:
        distinct, places = np.unique(numbers, return_inverse=True)
        return tuple((topic, int(number)) for number in distinct), places.astype(np.int64)
    names = pa.array(list(map(_topic, messages))).dictionary_encode()
    code = names.indices.to_numpy().astype(np.int64) << 32 | numbers
    distinct, places = np.unique(code, return_inverse=True)
    texts = names.dictionary.to_pylist()
    return tuple((texts[int(one) >> 32], int(one) & 0xFFFFFFFF) for one in distinct), places.astype(np.int64)
