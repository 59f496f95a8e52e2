"""I1: a retraction, its undoing or a reload that is killed, at any statement of it, has happened as a whole or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.forked_programs import ForkedPrograms
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka, KafkaCluster, produce
from timestore_assets_tests.support.retract_child import act, declared, opened
from timestore_assets_tests.support.topic_warehouse import new_topic, value

pytestmark = [pytest.mark.xdist_group("kafka"), pytest.mark.slow]
RECORDS, WINDOW = list(range(20)), set(range(5, 12))
STEP = int(os.environ.get("TIMESTORE_RETRACT_STEP", "5"))
"""Every so many statements one is killed at; 1 takes them all."""


class Ground:
    """A topic of twenty records, each named after its offset, that has landed."""

    def __init__(self, home: Path, servers: str, topic: str, programs: ForkedPrograms) -> None:
        self.home, self.servers, self.topic, self.programs = home, servers, topic, programs
        self.warehouse: Warehouse = opened(home, servers, topic)

    def shown(self) -> list[int]:
        with self.warehouse.ask(Question(dataset="weather", columns=("station",))) as answer:
            return sorted(int(name[1:]) for name in answer.table().column("station").to_pylist())

    def states(self) -> list[str]:
        return [one.state for one in self.warehouse.retractions("weather")]

    def killed(self, action: str, at: int) -> bool:
        """Whether the child was killed at that statement; False when it had come to its end before."""
        done = self.programs.run("retract_child", str(self.home), self.servers, self.topic, action, str(at))
        assert done.returncode in (0, -signal.SIGKILL), f"{action} {at}: {done.stderr}"
        return done.returncode != 0


@pytest.fixture
def ground(tmp_path: Path, any_kafka: KafkaCluster | EmbeddedKafka, programs: ForkedPrograms) -> Iterator[Ground]:
    topic = new_topic(any_kafka)
    produce(any_kafka.bootstrap, topic, [(0, None, value(number), None, None) for number in RECORDS])
    made = Ground(tmp_path / "home", any_kafka.bootstrap, topic, programs)
    with made.warehouse as warehouse:
        warehouse.stream("weather", declared(topic).kafka_sources[0])
        assert made.shown() == RECORDS
        yield made


def test_a_killed_retraction_has_happened_or_not(ground: Ground) -> None:
    happened = 0
    for at in count(1, STEP):
        was_killed = ground.killed("retract", at)
        is_there = "hidden" in ground.states()
        assert ground.shown() == [one for one in RECORDS if not is_there or one not in WINDOW]
        happened += is_there
        if is_there:
            act(ground.warehouse, ground.topic, "undo")
        if not was_killed:
            break
    assert happened and ground.shown() == RECORDS


def test_a_killed_undo_has_happened_or_not(ground: Ground) -> None:
    for at in count(1, STEP):
        if "hidden" not in ground.states():
            act(ground.warehouse, ground.topic, "retract")
        was_killed = ground.killed("undo", at)
        is_there = "hidden" in ground.states()
        assert ground.shown() == [one for one in RECORDS if not is_there or one not in WINDOW]
        if not was_killed:
            break
    assert "hidden" not in ground.states()


def test_a_killed_reload_goes_on_and_swaps_once(ground: Ground) -> None:
    """I2: each record of the window is read once a reload, however often that is killed."""
    for at in count(8, 8 * STEP):
        was_killed = ground.killed("reload", at)
        assert ground.shown() == RECORDS, at
        if not was_killed:
            break
    record = ground.warehouse.catalog.datasets.find("weather")
    assert record is not None
    (source,) = ground.warehouse.catalog.sources.of(record.id)
    told = ground.warehouse.catalog.audit.newest(dataset_ids=[record.id], limit=999)
    reloads = sum(one["action"] == "reloaded" for one in told)
    assert reloads and source.counters.landed == source.counters.read == len(RECORDS) + reloads * len(WINDOW)
    list(ground.warehouse.build("weather", [one.partition for one in ground.warehouse.partitions("weather")], close=True))
    assert ground.shown() == RECORDS
    assert ground.warehouse.catalog.manifest.retracted(record.id) == frozenset()
