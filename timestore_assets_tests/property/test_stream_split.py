"""I1, I2, I4: however a stream is split into partitions, sessions and flushes, and wherever sessions die, the same lands."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.catalog.records import LandingCommit
from timestore_assets.model.dataset import FlushPolicy
from timestore_assets.storage.port import Upload
from timestore_assets_tests.kafka_ground import EmbeddedKafka, produce
from timestore_assets_tests.landing_ground import columns, dataset
from timestore_assets_tests.stream_ground import StreamGround, new_topic, stream_ground, value, wait_until

DATASET = dataset(*columns(n="int64?"))
TTL = timedelta(milliseconds=150)


class DiedError(BaseException):
    """What happens to a process that is killed: nothing of it goes on, and no handler of errors is for it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One session: `records` are produced before it; it dies at the `fatal`th call of `where`, 0 being never."""

    records: Sequence[tuple[int, bytes]]
    flush_rows: int
    where: str
    fatal: int


def record(number: int, kind: int) -> bytes:
    """Good ones of many days, with a column that nobody declared and that widens, and some bad ones."""
    match kind:
        case 0:
            return b'{"ts": "2013-01-01", "station": '
        case 1:
            return value(number, hour=number, n="many")
        case 2:
            return value(number, hour=number, temp=1000)
        case 3:
            return value(number, hour=number, note=number)
        case 4:
            return value(number, hour=number, note=number + 0.5)
        case 5:
            return value(number, hour=number, note=f"x{number}")
    return value(number, hour=number, n=number)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    number, steps = 0, []
    for _ in range(draw(st.integers(1, 4))):
        placed = []
        for _ in range(draw(st.integers(0, 25))):
            placed.append((draw(st.integers(0, 3)), record(number, draw(st.integers(0, 11)))))
            number += 1
        where = draw(st.sampled_from(["promote", "before", "after"]))
        steps.append(Step(records=placed, flush_rows=draw(st.integers(1, 30)), where=where, fatal=draw(st.integers(0, 3))))
    return steps


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=histories())
def test_any_split_lands_the_same(broker: EmbeddedKafka, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ground = stream_ground(Path(folder) / "stream", broker, new_topic(broker), dataset=DATASET)
        ground.ttl = TTL
        for step in steps:
            if step.records:
                placed = [(partition, None, one, None, None) for partition, one in step.records]
                produce(broker.bootstrap, ground.topics[0], placed)
            ground.options["flush"] = FlushPolicy(rows=step.flush_rows, age=timedelta(milliseconds=10))
            run(ground, step)
        finish(ground)
        records = [one for step in steps for _, one in step.records]
        compare(ground, stream_ground(Path(folder) / "file", broker, *ground.topics, dataset=DATASET), records)


def run(ground: StreamGround, step: Step) -> None:
    """One session, which dies where the step says without ending itself."""
    commit, promote, end = ground.catalog.commit_landing, ground.store.promote, ground.catalog.end_session
    calls = {"promote": 0, "before": 0, "after": 0}

    def reached(place: str) -> None:
        calls[place] += 1
        if place == step.where and calls[place] == step.fatal:
            ground.catalog.end_session = lambda _: None  # type: ignore[method-assign]
            raise DiedError

    def promoted(uploads: Sequence[Upload]) -> None:
        promote(uploads)
        reached("promote")

    def committed(batch: LandingCommit) -> int:
        reached("before")
        version = commit(batch)
        reached("after")
        return version

    ground.catalog.commit_landing = committed  # type: ignore[method-assign]
    ground.store.promote = promoted  # type: ignore[method-assign]
    try:
        ground.stream()
    except DiedError:
        pass
    finally:
        ground.catalog.commit_landing = commit  # type: ignore[method-assign]
        ground.store.promote = promote  # type: ignore[method-assign]
        ground.catalog.end_session = end  # type: ignore[method-assign]


def finish(ground: StreamGround) -> None:
    """Land what is left, once no dead session holds a topic partition any more."""
    wait_until(lambda: ground.stream().ending == "caught_up" and not left(ground), "the rest is landed", 20)


def left(ground: StreamGround) -> int:
    return ground.kafka_topics().look(ground.places_of_topics()).lag


def compare(streamed: StreamGround, filed: StreamGround, records: list[bytes]) -> None:
    filed.land(filed.drop("all.jsonl", b"".join(one + b"\n" for one in records)))
    counters = streamed.counters()
    assert counters.balanced
    assert counters == filed.counters()
    assert counters.read == len(records)
    assert refused(streamed) == refused(filed)
    assert len(set(streamed.places())) == len(streamed.rows()) == counters.landed
    assert streamed.content_hash() == filed.content_hash()
    for ground in (streamed, filed):
        ground.catalog.close()


def refused(ground: StreamGround) -> list[tuple[Any, ...]]:
    return sorted((one.raw, one.code, one.column) for one in ground.letters())
