"""Messages as columns."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from timestore_assets.sources.kafka.messages import GatheredMessages, as_chunk, has_events
from timestore_assets.sources.kafka.topic_reader import MESSAGES_A_CALL, FetchedMessages


def message(offset: int, value: bytes | None = b"{}", topic: str = "t", partition: int = 0, **more: Any) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=value, **more)


def test_columns_of_one_topic() -> None:
    chunk = as_chunk([message(5, b"a", partition=3), message(9, b"", partition=0), message(7, b"cde", partition=3)], topic="t")
    assert chunk.values.to_pylist() == [b"a", b"", b"cde"]
    assert chunk.offsets.tolist() == [5, 9, 7]
    assert [chunk.keys[place] for place in chunk.places] == [("t", 3), ("t", 0), ("t", 3)]
    assert chunk.ends == {("t", 0): 10, ("t", 3): 8}
    assert (chunk.rows, chunk.size) == (3, 4)


def test_tombstones_are_null_and_not_empty() -> None:
    chunk = as_chunk([message(0, None), message(1, b""), message(2, b"x")], topic="t")
    assert chunk.values.to_pylist() == [None, b"", b"x"]
    assert chunk.size == 1


def test_several_topics_with_the_same_partition_numbers() -> None:
    made = [message(1, topic="b"), message(2, topic="a", partition=70_000), message(3, topic="b"), message(4, topic="a")]
    chunk = as_chunk(made)
    assert [chunk.keys[place] for place in chunk.places] == [("b", 0), ("a", 70_000), ("b", 0), ("a", 0)]
    assert chunk.ends == {("b", 0): 4, ("a", 70_000): 3, ("a", 0): 5}


def test_what_comes_beside_the_value() -> None:
    stamped = message(
        0, key=b"k", headers=[("h", b"1"), ("h", None)], timestamp=(TIMESTAMP_CREATE_TIME, 1_500)
    )  # fmt: skip
    bare = message(1, timestamp=(TIMESTAMP_NOT_AVAILABLE, -1))
    chunk = as_chunk([stamped, bare], topic="t")
    found = chunk.envelope(0)
    assert (found.key, found.headers) == (b"k", (("h", b"1"), ("h", None)))
    assert found.timestamp == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert (chunk.envelope(1).key, chunk.envelope(1).headers, chunk.envelope(1).timestamp) == (None, (), None)


def test_events_are_told_from_messages() -> None:
    assert not has_events([message(0), message(1, None)])
    assert has_events([message(0), message(1, error=KafkaError(KafkaError._PARTITION_EOF))])


def test_messages_of_several_calls_become_one_chunk() -> None:
    gathered = GatheredMessages("t")
    gathered.add([message(5, b"a", partition=3), message(0, None, partition=1)])
    gathered.add([message(6, b"", partition=3, key=b"k"), message(1, b"xyz", partition=1)])
    chunk = gathered.chunk()
    assert chunk.values.to_pylist() == [b"a", None, b"", b"xyz"]
    assert chunk.offsets.tolist() == [5, 0, 6, 1]
    assert chunk.ends == {("t", 3): 7, ("t", 1): 2}
    assert [chunk.envelope(index).key for index in range(4)] == [None, None, b"k", None]
    assert (chunk.rows, chunk.size) == (4, 4)


def test_what_comes_after_an_end_moves_it_on_and_what_came_before_does_not() -> None:
    fetched = FetchedMessages(topic="t", at_end={("t", 0), ("t", 1)})
    fetched.add([message(4, partition=0)])
    fetched.settle()
    assert (fetched.at_end, fetched.ends) == ({("t", 1)}, {("t", 0): 5})
    fetched.add([message(8, partition=1)])
    fetched.settle(moves_ends=False)
    assert (fetched.at_end, fetched.ends) == ({("t", 1)}, {("t", 0): 5, ("t", 1): 9})
    assert (fetched.rows, fetched.bytes, len(fetched.chunks)) == (2, 4, 2)


def test_a_call_makes_fewer_messages_than_the_interpreter_makes_before_it_looks_for_garbage() -> None:
    assert gc.get_threshold()[0] > MESSAGES_A_CALL
