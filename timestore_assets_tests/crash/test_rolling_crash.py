"""Two processes land, build and ask while columns are migrated, rolled back and migrated again, and are replaced one by one.

`TIMESTORE_ROLLING_MINUTES` says how long; a generation of columns takes five minutes then.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import pytest

from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.kafka_brokers import REAL_KAFKA, KafkaCluster
from timestore_assets_tests.support.migrations import GOVERNANCE, manifest
from timestore_assets_tests.support.rolling_child import Order
from timestore_assets_tests.support.rolling_generations import NAME, checked, declared, marker, operations
from timestore_assets_tests.support.topic_warehouse import new_topic, wait_until
from timestore_assets_tests.support.watched_process import end, watched

pytestmark = [pytest.mark.slow, *REAL_KAFKA]

MINUTES = float(os.environ.get("TIMESTORE_ROLLING_MINUTES", 0))
GENERATIONS = max(1, round(MINUTES / 5))
PHASES = 5
# seconds of a phase, and between two things of a kind that a process does
PHASE = MINUTES * 60 / GENERATIONS / PHASES if MINUTES else 1.0
PAUSE = 8.0 if MINUTES else 0.15
CHILD = Path(__file__).parent.parent / "support" / "rolling_child.py"


@dataclass
class Update:
    """`first`: the order of the first process; the others differ in number and generation."""

    first: Order
    warehouse: Warehouse
    running: list[tuple[Order, Popen[bytes], ExitStack]] = field(default_factory=list)
    killed: list[Order] = field(default_factory=list)
    started: int = 0

    def start(self, generation: int) -> None:
        order = replace(self.first, number=self.started, generation=generation)
        self.started += 1
        stack = ExitStack()
        environment = {"PYTHONPATH": str(CHILD.parent.parent.parent)}
        log = Path(order.home) / f"process-{order.number}.log"
        process = stack.enter_context(watched([sys.executable, str(CHILD), order.plain], log=log, environment=environment))
        self.running.append((order, process, stack))
        wait_until(lambda: process.poll() is not None or any("begun" in one for one in journal(order)), "the process has begun")

    def replace_oldest(self, generation: int, *, kill: bool) -> None:
        """A deployment: the new process begins before the old one goes."""
        self.start(generation)
        order, process, stack = self.running.pop(0)
        if kill:
            end(process, kill=True)
            self.killed.append(order)
        else:
            stopped(order, process)
        stack.close()

    def phase(self) -> None:
        """The processes go on for a while."""
        until = time.monotonic() + PHASE
        while time.monotonic() < until:
            for order, process, _ in self.running:
                assert process.poll() is None, wrong(order)
            time.sleep(0.2)

    def close(self) -> None:
        for order, process, stack in self.running:
            with stack:
                stopped(order, process)
        self.running.clear()


def stopped(order: Order, process: Popen[bytes]) -> None:
    # the shell that watches it has become it, so this is its own end
    process.terminate()
    try:
        assert process.wait(60) == 0, wrong(order)
    except TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "most recent call first" in logged(order), "it says what it is waiting for")
        raise AssertionError(logged(order)) from None


def wrong(order: Order) -> str:
    said = "\n".join(str(one.get("wrong", "")) for one in journal(order))
    return said.strip() or logged(order)[-2000:]


def logged(order: Order) -> str:
    return (Path(order.home) / f"process-{order.number}.log").read_text()


def journal(order: Order) -> list[dict[str, Any]]:
    if not order.journal.exists():
        return []
    lines = order.journal.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


# a minute of the whole suite is enough for one of the databases
@pytest.fixture(params=["sqlite", "postgresql"] if MINUTES else ["sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{'postgres' if request.param == 'postgresql' else 'sqlite'}_catalog_url")
    return found


@pytest.fixture
def update(tmp_path: Path, url: str, kafka: KafkaCluster) -> Iterator[Update]:
    topic = new_topic(kafka)
    first = Order(
        home=str(tmp_path),
        url=url,
        servers=kafka.bootstrap,
        topic=topic,
        number=0,
        generation=0,
        generations=GENERATIONS + 1,
        pause=PAUSE,
    )
    its = declared(0, first.generations, topic)
    with open_warehouse(tmp_path, {NAME: its}, catalog_url=url, kafka_bootstrap_servers=kafka.bootstrap) as warehouse:
        made = Update(first, warehouse)
        yield made
        for _, process, stack in made.running:
            with stack:
                end(process, kill=True)


def test_no_value_is_lost_while_columns_and_processes_are_replaced(update: Update) -> None:
    w, done = update.warehouse, Counter[str]()
    for _ in range(2):
        update.start(0)
    for generation in range(GENERATIONS):
        update.phase()
        marker(Path(update.first.home), generation).touch()
        before = w.resolve(NAME)[1].manifest_version
        governance = {**GOVERNANCE, "ticketId": f"T-{generation}"}
        assert w.migrate(manifest(NAME, *operations(generation), governance=governance), actor="test").done.is_new
        update.phase()
        update.replace_oldest(generation + 1, kill=generation % 2 == 0)
        update.phase()
        back = w.rollback(NAME, before, may_null=True)
        assert back.schema_version is not None
        update.phase()
        assert w.rollback(NAME, back.start_version, may_null=True).schema_version is not None
        update.phase()
        update.replace_oldest(generation + 1, kill=generation % 2 == 1)
        done.update(migrations=1, backwards=1, forwards=1)
    orders = [replace(update.first, number=number) for number in range(update.started)]
    update.close()
    w.stream(NAME, w.declared(NAME).kafka_sources[0])
    found = judged(update, orders)
    print(json.dumps({**done, **found}, indent=1))


def judged(update: Update, orders: list[Order]) -> dict[str, Any]:
    """Counts of what was done, once all that was taken is found and nothing else."""
    w = update.warehouse
    with w.ask(Question(dataset=NAME)) as answer:
        generation, found = checked(answer.table().to_pylist(), update.first.generations, Path(update.first.home))
    assert generation == GENERATIONS
    sent, taken, counts = set[int](), set[int](), defaultdict[str, Counter[str]](Counter)
    for one in (one for order in orders for one in journal(order)):
        sent |= set(one.get("sends", ()))
        taken |= set(one.get("taken", ()))
        if "taken" in one:
            counts["records"][one["way"]] += len(one["taken"])
        counts["builds"].update(one.get("builds", {}))
        if "asked" in one:
            counts["answers"][f"{one['asked']} of generation {one['generation']}"] += 1
        if "refused" in one:
            counts["refused"][one["refused"]] += 1
    assert taken <= found <= sent, (sorted(taken - found)[:5], sorted(found - sent)[:5])
    assert w.verify(NAME).findings == ()
    assert not [one.name for one in w.resolve(NAME)[1].schema if one.origin != "declared"], "no column came by itself"
    return {"found": len(found), "unanswered": len(found - taken), "killed": len(update.killed), **counts}
