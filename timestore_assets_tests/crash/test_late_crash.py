"""I1, I2: held records that are accepted by a process which is killed at any point land once, and the ledger knows it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Late
from timestore_assets_tests.support.dead_letter_replays import STRICT, land_topic, mended, offsets, replay
from timestore_assets_tests.support.forked_orders import orders_to
from timestore_assets_tests.support.landing_warehouse import NOW, LandingWarehouse
from timestore_assets_tests.support.replay_child import TTL

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "3"))
BATCHES = 4
IN_A_BATCH = 6

Child = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What accepting leaves."""

    content: str
    counters: Counters
    ledger: list[tuple[str, str, int, int]]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with orders_to("replay_child", kind="held") as run:
        yield run


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with held batches, each of several days."""
    root = tmp_path_factory.mktemp("holding")
    warehouse = LandingWarehouse.at(root, replace(STRICT, late=Late(policy="hold")))
    for batch in range(BATCHES):
        values = [b'{"ts": "2013-02-%02d", "station": "s%d"}' % (day + 1, batch * IN_A_BATCH + day) for day in range(IN_A_BATCH)]
        messages = [replace(one, offset=one.offset + batch * IN_A_BATCH) for one in offsets(values)]
        land_topic(warehouse, messages, late_before=NOW)
    assert warehouse.counters().held == BATCHES * IN_A_BATCH
    warehouse.catalog.close()
    return root


def outcome(warehouse: LandingWarehouse) -> Outcome:
    ledger = warehouse.catalog.late.of(warehouse.record.id, window=warehouse.dataset.window)
    cells = [(one.partition.key, one.disposition, one.lateness, one.rows) for one in ledger]
    return Outcome(content=warehouse.content_hash(), counters=warehouse.counters(), ledger=cells)


def copy_of(holding: Path, to: Path) -> LandingWarehouse:
    shutil.copytree(holding, to)
    return LandingWarehouse.at(to, mended(), ttl=TTL)


@pytest.fixture(scope="module")
def clean(child: Child, holding: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, int]:
    """What one run without a kill leaves, and how many calls it makes."""
    warehouse = copy_of(holding, tmp_path_factory.mktemp("clean") / "copy")
    calls = int(child(root=str(warehouse.root), calls=0))
    found = outcome(warehouse)
    warehouse.catalog.close()
    assert found.counters == Counters(read=BATCHES * IN_A_BATCH, landed=BATCHES * IN_A_BATCH)
    assert {one[1] for one in found.ledger} == {"corrected"}
    return found, calls


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_run_again_is_as_if_never_killed(
    run: int, child: Child, holding: Path, tmp_path: Path, clean: tuple[Outcome, int]
) -> None:
    expected, calls = clean
    warehouse = copy_of(holding, tmp_path / "copy")
    point = random.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1
    assert child(root=str(warehouse.root), calls=point) == "killed"
    between = outcome(warehouse)
    assert between.counters.balanced, point
    held = sum(rows for _, disposition, _, rows in between.ledger if disposition == "held")
    assert held == between.counters.held == BATCHES * IN_A_BATCH - len(warehouse.places()), point
    replay(warehouse, kind="held")
    assert outcome(warehouse) == expected, point
    warehouse.catalog.close()
