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

from timestore_assets.catalog.commit_values import LandingCommit
from timestore_assets.model.dataset import FlushPolicy
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, produce
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.topic_warehouse import TopicWarehouse, new_topic, topic_warehouse, value, wait_until

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


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=histories())
def test_any_split_lands_the_same(broker: EmbeddedKafka, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = topic_warehouse(Path(folder) / "stream", broker, new_topic(broker), dataset=DATASET)
        warehouse.ttl = TTL
        for step in steps:
            if step.records:
                placed = [(partition, None, one, None, None) for partition, one in step.records]
                produce(broker.bootstrap, warehouse.topics[0], placed)
            warehouse.options["flush"] = FlushPolicy(rows=step.flush_rows, age=timedelta(milliseconds=10))
            run(warehouse, step)
        finish(warehouse)
        records = [one for step in steps for _, one in step.records]
        compare(warehouse, topic_warehouse(Path(folder) / "file", broker, *warehouse.topics, dataset=DATASET), records)


def run(warehouse: TopicWarehouse, step: Step) -> None:
    """One session, which dies where the step says without ending itself."""
    commit, promote, end = warehouse.catalog.commits.land, warehouse.store.promote, warehouse.catalog.sessions.end
    calls = {"promote": 0, "before": 0, "after": 0}

    def reached(place: str) -> None:
        calls[place] += 1
        if place == step.where and calls[place] == step.fatal:
            warehouse.catalog.sessions.end = lambda _: None  # type: ignore[assignment, method-assign] # who died ends nothing
            raise DiedError

    def promoted(uploads: Sequence[Upload]) -> list[str]:
        digests = promote(uploads)
        reached("promote")
        return digests

    def committed(batch: LandingCommit) -> int:
        reached("before")
        version = commit(batch)
        reached("after")
        return version

    warehouse.catalog.commits.land = committed  # type: ignore[assignment, method-assign] # that may die
    warehouse.store.promote = promoted  # type: ignore[method-assign] # that may die
    try:
        warehouse.stream()
    except DiedError:
        pass
    finally:
        warehouse.catalog.commits.land = commit  # type: ignore[method-assign] # put back
        warehouse.store.promote = promote  # type: ignore[method-assign] # put back
        warehouse.catalog.sessions.end = end  # type: ignore[method-assign] # put back


def finish(warehouse: TopicWarehouse) -> None:
    """Land what is left, once no dead session holds a topic partition any more."""
    wait_until(lambda: warehouse.stream().ending == "caught_up" and not left(warehouse), "the rest is landed", 60)


def left(warehouse: TopicWarehouse) -> int:
    return warehouse.kafka_topics().look(warehouse.places_of_topics()).lag


def compare(streamed: TopicWarehouse, filed: TopicWarehouse, records: list[bytes]) -> None:
    filed.land(filed.drop("all.jsonl", b"".join(one + b"\n" for one in records)))
    counters = streamed.counters()
    assert counters.balanced
    assert counters == filed.counters()
    assert counters.read == len(records)
    assert refused(streamed) == refused(filed)
    assert len(set(streamed.places())) == len(streamed.rows()) == counters.landed
    assert streamed.content_hash() == filed.content_hash()
    for warehouse in (streamed, filed):
        warehouse.catalog.close()


def refused(warehouse: TopicWarehouse) -> list[tuple[Any, ...]]:
    return sorted((one.raw, one.code, one.column) for one in warehouse.letters())
