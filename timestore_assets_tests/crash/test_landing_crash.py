"""I1, I2: a landing killed at any point and then finished leaves what one clean run leaves, and nothing else."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.counters import Counters
from timestore_assets_tests.support.forked_orders import orders_to
from timestore_assets_tests.support.landing_child import DATASET, TTL
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "3"))
ROWS, CHUNK = 400, 90

Child = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a landing leaves: everything that must not depend on how often it was killed."""

    content: str
    rows: list[tuple[Any, ...]]
    letters: list[tuple[int, int, str, str, bytes]]
    counters: Counters


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with orders_to("landing_child") as run:
        yield run


@pytest.fixture(scope="module", params=[9, 45], ids=["files-of-their-own", "a-shared-file"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad records over many days, with a column nobody declared that widens on the way; many share a file."""
    made = random.Random(5)
    path = tmp_path_factory.mktemp("input") / "a.csv"
    lines = ["ts,station,temp,n,extra"]
    for number in range(ROWS):
        extra = number if number < 150 else number / 2 if number < 300 else f"x{number}"
        wrong = made.choice(["", "", "", "", "", "q"])
        day = date(2013, 1, 1) + timedelta(days=number % request.param)
        lines.append(f"{day}T00:00:00,S{number},{made.randint(-40, 150)},{number}{wrong},{extra}")
    path.write_text("\n".join(lines) + "\n")
    return path


def outcome(warehouse: LandingWarehouse) -> Outcome:
    letters = [(letter.position, letter.line, letter.code, letter.column, letter.raw) for letter in warehouse.letters()]
    return Outcome(content=warehouse.content_hash(), rows=warehouse.rows(), letters=letters, counters=warehouse.counters())


@pytest.fixture(scope="module")
def clean(child: Child, file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, int]:
    """What one run without a kill leaves, and how many calls it makes."""
    root = tmp_path_factory.mktemp("clean")
    LandingWarehouse.at(root, DATASET).catalog.close()
    calls = int(child(root=str(root), file=str(file), chunk_rows=CHUNK, calls=0))
    warehouse = LandingWarehouse.at(root, DATASET)
    found = outcome(warehouse)
    warehouse.catalog.close()
    assert found.counters.read == ROWS
    assert found.counters.landed == len(found.rows)
    assert found.counters.dead_letters == len(found.letters) > 10
    return found, calls


def points(calls: int) -> list[int]:
    """Calls to die at, spread over the whole run and differing from one run of the tests to the next."""
    made = random.Random()
    return [made.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1 for run in range(RUNS)]


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_finished_is_as_if_never_killed(
    run: int, child: Child, file: Path, clean: tuple[Outcome, int], tmp_path: Path
) -> None:
    expected, calls = clean
    point = points(calls)[run]
    LandingWarehouse.at(tmp_path, DATASET).catalog.close()
    assert child(root=str(tmp_path), file=str(file), chunk_rows=CHUNK, calls=point) == "killed"
    warehouse = LandingWarehouse.at(tmp_path, DATASET, ttl=TTL)
    if warehouse.catalog.datasets.find(DATASET.name) is not None:
        between = warehouse.counters()
        assert between.balanced, point
        assert between.landed == len(warehouse.rows()), point
    report = warehouse.land(file)
    assert report.files[0].state in ("landed", "duplicate"), (point, report)
    assert outcome(warehouse) == expected, point
    assert_nothing_left_over(warehouse)
    warehouse.catalog.close()


def test_killed_many_times_over(child: Child, file: Path, clean: tuple[Outcome, int], tmp_path: Path) -> None:
    expected, calls = clean
    LandingWarehouse.at(tmp_path, DATASET).catalog.close()
    for _ in range(3):
        child(root=str(tmp_path), file=str(file), chunk_rows=CHUNK // 3, calls=random.randrange(calls // 4, calls // 2))
    warehouse = LandingWarehouse.at(tmp_path, DATASET, ttl=TTL)
    warehouse.land(file)
    assert outcome(warehouse) == expected
    assert_nothing_left_over(warehouse)
    warehouse.catalog.close()


def assert_nothing_left_over(warehouse: LandingWarehouse) -> None:
    """After the leases of the dead have expired, a collection leaves exactly what the catalog names."""
    deadline = time.monotonic() + 60
    # a session that died after its last commit may still hold its lease, and the collector leaves its intents until then
    while warehouse.collect() and warehouse.objects() != named(warehouse) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert warehouse.objects() == named(warehouse)
    assert warehouse.catalog.objects.known() == named(warehouse)
    assert warehouse.catalog.files.pending(warehouse.record.id) == 0


def named(warehouse: LandingWarehouse) -> set[str]:
    """Objects that the newest manifest and the dead letters name."""
    segments = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    return segments | {found.name for _, found, _ in warehouse.catalog.dead_letters.of(warehouse.record.id)}
