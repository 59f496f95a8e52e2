"""I1, I2: under `order: strict` the same records are refused wherever landing is killed, from files and from topics.

`TIMESTORE_CRASH_RUNS` says how many files are landed with kills (1 by default), `TIMESTORE_STREAM_KILLS` how many sessions die.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.landing.topics.session_options import SessionLimits
from timestore_assets.model.errors import UnavailableError
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, produce
from timestore_assets_tests.support.kafka_cluster import KafkaCluster
from timestore_assets_tests.support.landing_child import TTL
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse
from timestore_assets_tests.support.order_model import IN_ORDER, Reading, found, judged
from timestore_assets_tests.support.stream_child import land
from timestore_assets_tests.support.topic_warehouse import new_topic, wait_until

pytestmark = [pytest.mark.slow, *REAL_KAFKA]
RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "1"))
KILLS = int(os.environ.get("TIMESTORE_STREAM_KILLS", "2"))
CHUNK = 40

Child = Callable[..., str]


@contextmanager
def child(module: str) -> Iterator[Child]:
    """A process of `support` that is given orders."""
    command = [sys.executable, "-m", f"timestore_assets_tests.support.{module}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def run(**order: Any) -> str:
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return answers.readline().strip()

        yield run
        orders.close()
        process.wait(60)


def readings(count: int, *, sources: int = 1) -> list[Reading]:
    """Times that go on and fall back, by five stations, with some records that are refused for another reason."""
    made = random.Random(3)
    return [
        Reading(
            number=number,
            station=f"s{made.randrange(5)}",
            hour=100 + number + made.choice([0, 0, 0, -2, -9, 30]),
            source=made.randrange(sources),
            is_bad=made.random() < 0.05,
        )
        for number in range(count)
    ]


def test_a_file_that_is_killed_again_and_again_refuses_the_same(tmp_path: Path) -> None:
    made = readings(240)
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(one.value + b"\n" for one in made))
    wanted = judged(made)
    assert len(wanted.out_of_order) > 30
    with child("landing_child") as order:
        clean = tmp_path / "clean"
        LandingWarehouse.at(clean, IN_ORDER).catalog.close()
        calls = int(order(root=str(clean), file=str(file), chunk_rows=CHUNK, calls=0, in_order=True))
        for run in range(RUNS):
            root = tmp_path / f"killed{run}"
            LandingWarehouse.at(root, IN_ORDER).catalog.close()
            # from a third on it has begun to land; each kill leaves it another state to go on from
            for _ in range(3):
                at = random.randint(calls // 3, calls)
                assert order(root=str(root), file=str(file), chunk_rows=CHUNK, calls=at, in_order=True)
            warehouse = LandingWarehouse.at(root, IN_ORDER, ttl=TTL)
            wait_until(lambda: warehouse.land(file).files[0].state in ("landed", "duplicate"), "the rest is landed", 60)  # noqa: B023 - called here
            assert found(warehouse) == wanted
            warehouse.catalog.close()


def test_sessions_that_are_killed_refuse_the_same(kafka: KafkaCluster, tmp_path: Path) -> None:
    made = readings(KILLS * 200, sources=4)
    topic = new_topic(kafka)
    warehouse = LandingWarehouse.at(tmp_path, IN_ORDER)
    warehouse.catalog.datasets.register(IN_ORDER, actor="test")
    order = {"root": str(tmp_path), "servers": kafka.bootstrap, "topics": [topic], "in_order": True}
    with child("stream_child") as forker:
        for kill in range(KILLS):
            session = int(forker(**order))
            try:
                read = warehouse.counters().read
                some = made[kill * 200 : (kill + 1) * 200]
                produce(kafka.bootstrap, topic, [(one.source, None, one.value, None, None) for one in some])
                wait_until(lambda: warehouse.counters().read > read, "it has landed something", 60)  # noqa: B023 - called here
            finally:
                os.kill(session, signal.SIGKILL)
                assert forker(reap=session) == str(-signal.SIGKILL)
    wait_until(lambda: finish(tmp_path, kafka, topic), "the rest is landed", 60)
    assert warehouse.counters().read == len(made)
    assert found(warehouse) == judged(made)
    warehouse.catalog.close()


def finish(root: Path, cluster: KafkaCluster, topic: str) -> bool:
    """Land what is left, once the leases of the killed are over."""
    try:
        return land(root, cluster.bootstrap, [topic], limits=SessionLimits(), declared=IN_ORDER) == "caught_up"
    except UnavailableError:
        return False
