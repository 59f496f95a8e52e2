"""An object's bytes as a file: what is asked of the store, and what a reader gets."""

from __future__ import annotations

import hashlib
import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.objects import object_stream as object_stream
from timestore_assets.sources.objects.object_stream import AHEAD, BLOCK_BYTES, FIRST_BYTES, ObjectStream

CONTENT = hashlib.shake_256(b"object").digest(3 * BLOCK_BYTES + 12345)


class Requests:
    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.spans, self.lock = content, list[tuple[int, int]](), threading.Lock()

    def __call__(self, start: int, end: int) -> bytes:
        with self.lock:
            self.spans.append((start, end))
        return self.content[start:end]

    def stream(self, kept: int = 4) -> ObjectStream:
        return ObjectStream(self, len(self.content), kept=kept)


def test_a_small_object_is_one_request() -> None:
    requests = Requests(CONTENT[:1000])
    with requests.stream() as stream:
        assert stream.read(10) + stream.read() == CONTENT[:1000]
        stream.seek(5)
        assert stream.read(1) == CONTENT[5:6]
    assert requests.spans == [(0, 1000)]


def test_looking_at_the_beginning_fetches_little() -> None:
    requests = Requests()
    with requests.stream() as stream:
        stream.read(8)
        stream.seek(0)
        stream.read(65536)
    assert requests.spans == [(0, FIRST_BYTES)]


def test_reading_through_asks_for_each_byte_once() -> None:
    requests = Requests()
    with requests.stream() as stream:
        assert b"".join(iter(lambda: stream.read(100_000), b"")) == CONTENT
    assert sum(end - start for start, end in requests.spans) == len(CONTENT)
    assert len(requests.spans) == 5


def test_columns_read_side_by_side_cost_no_second_request() -> None:
    requests = Requests()
    with requests.stream(kept=8) as stream:
        for step in range(0, BLOCK_BYTES, BLOCK_BYTES // 4):
            for column in range(3):
                stream.seek(column * BLOCK_BYTES + step)
                stream.read(1000)
    assert len(requests.spans) == len(set(requests.spans)) <= 5


def test_memory_is_bounded() -> None:
    requests = Requests(bytes(20 * BLOCK_BYTES))
    with requests.stream(kept=1) as stream:
        while stream.read(BLOCK_BYTES):
            assert len(stream._blocks) <= AHEAD + 2


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000)), max_size=20), st.integers(0, 4500))
def test_it_reads_as_a_file_in_memory_does(reads: list[tuple[int, int]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BLOCK_BYTES", 512), ("FIRST_BYTES", 64), ("WHOLE_BYTES", 100)):
            patch.setattr(object_stream, name, value)
        requests = Requests(CONTENT[:size])
        expected = io.BytesIO(CONTENT[:size])
        with requests.stream() as stream:
            for offset, length in reads:
                assert stream.seek(offset) == expected.seek(offset)
                assert stream.read(length) == expected.read(length)
                assert stream.tell() == expected.tell()


def test_what_the_store_refuses_reaches_the_reader_and_may_be_asked_again() -> None:
    refusals = [BadFileError("changed_while_reading", "it changed")]

    def fetch(start: int, end: int) -> bytes:
        if start and refusals:
            raise refusals.pop()
        return CONTENT[start:end]

    with ObjectStream(fetch, len(CONTENT), kept=4) as stream:
        stream.read(10)
        stream.seek(FIRST_BYTES)
        with pytest.raises(BadFileError, match="it changed"):
            stream.read(10)
        assert stream.read(10) == CONTENT[FIRST_BYTES : FIRST_BYTES + 10]


def test_a_short_answer_is_no_end_of_file() -> None:
    with ObjectStream(lambda start, end: CONTENT[start : end - 1], 1000, kept=4) as stream, pytest.raises(OSError, match="999"):
        stream.read(10)
