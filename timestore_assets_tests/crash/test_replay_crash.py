"""I1, I2: a replay killed at any point and then run again leaves what one clean run leaves, and nothing else."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from timestore_assets.model.counters import Counters
from timestore_assets_tests.support.dead_letter_replays import (
    FILES,
    MENDABLE,
    POISON,
    STRICT,
    land_topic,
    lines_of,
    mended,
    offsets,
    replay,
)
from timestore_assets_tests.support.forked_orders import orders_to
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse
from timestore_assets_tests.support.replay_child import TTL

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "3"))
COPIES = 5

Child = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a replay leaves: everything that must not depend on how often it was killed."""

    content: str
    places: list[tuple[int, int]]
    letters: list[tuple[int | None, int, str, bytes | None]]
    counters: Counters


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with orders_to("replay_child") as run:
        yield run


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with dead letters of files and of a topic."""
    root = tmp_path_factory.mktemp("poisoned")
    warehouse = LandingWarehouse.at(root, STRICT, source=FILES)
    for number in range(3):
        warehouse.land_one(f"{number}.jsonl", lines_of([*POISON.values(), b"%d" % number]))
    land_topic(warehouse, offsets(list(POISON.values()) * COPIES, partitions=3))
    assert warehouse.counters().landed == 0
    warehouse.catalog.close()
    return root


@pytest.fixture
def warehouse(poisoned: Path, tmp_path: Path) -> Iterator[LandingWarehouse]:
    root = tmp_path / "copy"
    shutil.copytree(poisoned, root)
    warehouse = LandingWarehouse.at(root, mended(), ttl=TTL)
    yield warehouse
    warehouse.catalog.close()


def outcome(warehouse: LandingWarehouse) -> Outcome:
    letters = sorted((one.source_partition, one.position, one.code, one.raw) for one in warehouse.letters())
    return Outcome(
        content=warehouse.content_hash(), places=sorted(warehouse.places()), letters=letters, counters=warehouse.counters()
    )


@pytest.fixture(scope="module")
def clean(child: Child, poisoned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, int]:
    """What one run without a kill leaves, and how many calls it makes."""
    root = tmp_path_factory.mktemp("clean") / "copy"
    shutil.copytree(poisoned, root)
    calls = int(child(root=str(root), calls=0))
    warehouse = LandingWarehouse.at(root, mended())
    found = outcome(warehouse)
    warehouse.catalog.close()
    assert found.counters.landed == len(found.places) == len(MENDABLE) * (3 + COPIES)
    assert found.counters.balanced
    return found, calls


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_run_again_is_as_if_never_killed(
    run: int, child: Child, warehouse: LandingWarehouse, clean: tuple[Outcome, int]
) -> None:
    expected, calls = clean
    point = random.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1
    assert child(root=str(warehouse.root), calls=point) == "killed"
    between = warehouse.counters()
    assert between.balanced, point
    assert between.read == expected.counters.read, point
    assert between.landed == len(warehouse.places()), point
    assert between.dead_letters == len(warehouse.letters()), point
    replay(warehouse)
    assert outcome(warehouse) == expected, point
    assert_nothing_left_over(warehouse)


def test_killed_many_times_over(child: Child, warehouse: LandingWarehouse, clean: tuple[Outcome, int]) -> None:
    expected, calls = clean
    for _ in range(4):
        child(root=str(warehouse.root), calls=random.randrange(calls // 4, calls // 2))
    replay(warehouse)
    assert outcome(warehouse) == expected
    assert_nothing_left_over(warehouse)


def assert_nothing_left_over(warehouse: LandingWarehouse) -> None:
    """After the leases of the dead have expired, a collection leaves exactly what the catalog names."""
    known = {file.name for _, file, _ in warehouse.catalog.dead_letters.of(warehouse.record.id, settled=True)}
    known |= {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    deadline = time.monotonic() + 60
    while warehouse.collect() and warehouse.objects() != known and time.monotonic() < deadline:
        time.sleep(0.1)
    assert warehouse.objects() == known
    assert warehouse.catalog.objects.known() == known
