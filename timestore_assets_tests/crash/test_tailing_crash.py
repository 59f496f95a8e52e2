"""Answers with rows merged in while the sessions that land them are killed at any moment: each record once, in every answer.

`TIMESTORE_TAILING_KILLS` says how many are killed (4 by default).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import IO

from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, EmbeddedKafka
from timestore_assets_tests.support.kafka_cluster import KafkaCluster
from timestore_assets_tests.support.stream_child import DATASET, TTL
from timestore_assets_tests.support.tailing_warehouse import Tailing, TailingWarehouse, tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import WAIT_SECONDS, value, wait_until

pytestmark = REAL_KAFKA
KILLS = int(os.environ.get("TIMESTORE_TAILING_KILLS", "4"))
BATCH = 20


class Sessions:
    """One session after the other, each in a process that is killed."""

    def __init__(self, warehouse: TailingWarehouse, orders: IO[str], answers: IO[str]) -> None:
        self._orders, self._answers = orders, answers
        self._order = {"root": str(warehouse.root), "servers": warehouse.cluster.bootstrap, "topics": list(warehouse.topics)}
        self.pid = 0

    def start(self) -> None:
        self.pid = self._send(self._order)

    def kill(self) -> int:
        """Kill the one that runs; how it ended."""
        os.kill(self.pid, signal.SIGKILL)
        return self._send({"reap": self.pid})

    def _send(self, order: dict[str, object]) -> int:
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return int(self._answers.readline())


@contextmanager
def sessions_of(warehouse: TailingWarehouse) -> Iterator[Sessions]:
    command = [sys.executable, "-m", "timestore_assets_tests.support.stream_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Sessions(warehouse, process.stdin, process.stdout)
        process.stdin.close()


@contextmanager
def feeding(warehouse: TailingWarehouse) -> Iterator[list[int]]:
    """Produces numbered records until the block ends; gives how many there are so far."""
    done, sent = Event(), [0]

    def feed() -> None:
        while not done.is_set():
            warehouse.produce([value(number, n=number) for number in range(sent[0], sent[0] + BATCH)])
            sent[0] += BATCH
            time.sleep(0.05)

    thread = Thread(target=feed)
    thread.start()
    try:
        yield sent
    finally:
        done.set()
        thread.join(60)


def require_once(numbers: list[int]) -> None:
    """Of each topic partition the first so many records, none missing in between and none twice."""
    for part in range(4):
        mine = sorted(number for number in numbers if number % 4 == part)
        assert mine == list(range(part, part + 4 * len(mine), 4))


class Questions:
    """Asks again and again, and requires of each answer what must hold of all; `seen`: rows of the last one."""

    def __init__(self, hot: Tailing) -> None:
        self._hot = hot
        self.answers = self.seen = 0

    def ask_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.ask_until(lambda: time.monotonic() >= until)

    def ask_until(self, reached: Callable[[], bool]) -> None:
        limit = time.monotonic() + WAIT_SECONDS
        while not reached():
            assert time.monotonic() < limit
            found = self._hot.ask("n").values
            require_once(found)
            assert len(found) >= self.seen
            self.seen, self.answers = len(found), self.answers + 1


def test_sessions_killed_while_questions_are_asked(any_kafka: KafkaCluster | EmbeddedKafka, tmp_path: Path) -> None:
    warehouse = tailing_warehouse(tmp_path, any_kafka, declared=DATASET)
    ended: Counter[int] = Counter()
    with warehouse.hot() as hot, sessions_of(warehouse) as sessions:
        questions = Questions(hot)
        with feeding(warehouse) as sent:
            for _ in range(KILLS):
                questions.ask_for(TTL.total_seconds() + 0.2)  # until the lease of the one before has expired
                sessions.start()
                landed = warehouse.counters().landed
                questions.ask_until(lambda before=landed: warehouse.counters().landed > before)  # type: ignore[misc] # mypy types no lambda with a default
                questions.ask_for(random.uniform(0, 0.6))
                ended[sessions.kill()] += 1
        assert hot.wait_for(sent[0], column="n").values == list(range(sent[0]))
        landed = warehouse.counters().landed
        wait_until(lambda: warehouse.stream().ending == "caught_up", "the rest is landed", 60)
        found = hot.ask("n")
        assert (found.values, found.streaming.merged_rows) == (list(range(sent[0])), 0)
    print(f"{sent[0]} records, {landed} of them landed by sessions that were killed, {questions.answers} answers")
    assert ended == {-signal.SIGKILL: KILLS}
    assert warehouse.counters().landed == sent[0]
    assert questions.answers > KILLS
