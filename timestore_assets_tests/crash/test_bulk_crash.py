"""I1, I2 at size: a landing in parts, several at a time, killed at any point and finished, leaves what one simple run leaves."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.landing.files.context import BulkLimits, Share
from timestore_assets_tests.crash.test_landing_crash import assert_nothing_left_over
from timestore_assets_tests.support.forked_orders import orders_to
from timestore_assets_tests.support.landing_child import DATASET, TTL
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "3"))
ROWS, GROUP = 400, 50
BULK = BulkLimits(chunk_bytes=1, commit_bytes=2000, parallel=2, batch_rows=15)
"""Eight parts of a few commits of two or three batches each."""

Child = Callable[..., str]
Outcome = tuple[str, list[Any], list[Any], Any]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with orders_to("landing_child", bulk=asdict(BULK)) as run:
        yield run


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad rows in no order of time, with columns nobody declared that are found, or widened, in several parts."""
    path = tmp_path_factory.mktemp("input") / "a.parquet"
    numbers = range(ROWS)
    table = pa.table(
        {
            "ts": pa.array([datetime(2013, 1, 1) + timedelta(days=n * 7 % 9) for n in numbers], pa.timestamp("us")),
            "station": [f"S{n}" for n in numbers],
            "temp": pa.array([float(n % 170 - 20) for n in numbers]),
            "n": pa.array([n if n % 5 else None for n in numbers], pa.int64()),
            "extra": [f"{n}" if n < 150 else f"{n / 2}" if n < 300 else f"x{n}" for n in numbers],
            "late": [None if n < 220 else "7" for n in numbers],
        }
    )
    pq.write_table(table, path, row_group_size=GROUP)
    return path


def outcome(warehouse: LandingWarehouse) -> Outcome:
    """What must depend neither on how a file was cut nor on how often its landing was killed."""
    letters = sorted((letter.position, letter.line, letter.code, letter.column, letter.raw) for letter in warehouse.letters())
    rows = sorted(zip((position for _, position in warehouse.places()), warehouse.rows(), strict=True), key=lambda row: row[0])
    return warehouse.content_hash(), rows, letters, warehouse.counters()


@pytest.fixture(scope="module")
def simple(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one whole, narrow landing leaves."""
    warehouse = LandingWarehouse.at(tmp_path_factory.mktemp("simple"), DATASET)
    counters = warehouse.land(file, chunk_rows=100).counters
    assert counters.read == ROWS
    assert counters.dead_letters > 10
    found = outcome(warehouse)
    warehouse.catalog.close()
    return found


@pytest.fixture(scope="module")
def calls(child: Child, file: Path, simple: Outcome, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls a landing in parts makes, none of which changes what it leaves."""
    root = tmp_path_factory.mktemp("clean")
    LandingWarehouse.at(root, DATASET).catalog.close()
    made = int(child(root=str(root), file=str(file), calls=0))
    warehouse = LandingWarehouse.at(root, DATASET)
    assert outcome(warehouse) == simple
    warehouse.catalog.close()
    return made


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_finished_is_as_if_never_killed(
    run: int, child: Child, file: Path, simple: Outcome, calls: int, tmp_path: Path
) -> None:
    point = random.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1
    LandingWarehouse.at(tmp_path, DATASET).catalog.close()
    # threads make a few calls more or less each time, so a point near the end may come too late
    child(root=str(tmp_path), file=str(file), calls=point)
    warehouse = LandingWarehouse.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
    if warehouse.catalog.datasets.find(DATASET.name) is not None:
        between = warehouse.counters()
        assert between.balanced, point
        assert between.landed == len(warehouse.rows()), point
    report = warehouse.land(file)
    assert report.files[0].state in ("landed", "duplicate"), (point, report)
    assert outcome(warehouse) == simple, point
    assert_nothing_left_over(warehouse)
    warehouse.catalog.close()


def test_killed_many_times_over(child: Child, file: Path, simple: Outcome, calls: int, tmp_path: Path) -> None:
    LandingWarehouse.at(tmp_path, DATASET).catalog.close()
    for _ in range(3):
        child(root=str(tmp_path), file=str(file), calls=random.randrange(calls // 4, calls // 2))
    warehouse = LandingWarehouse.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
    warehouse.land(file)
    assert outcome(warehouse) == simple
    assert_nothing_left_over(warehouse)
    warehouse.catalog.close()


def test_two_sessions_share_a_file_and_one_is_killed(file: Path, simple: Outcome, calls: int, tmp_path: Path) -> None:
    LandingWarehouse.at(tmp_path, DATASET).catalog.close()
    point = random.randrange(calls // 4, calls * 3 // 4)
    with orders_to("landing_child", bulk=asdict(BULK)) as child:
        order = {"root": str(tmp_path), "file": str(file), "calls": point, "share": {"index": 1, "of": 2}}
        killed = threading.Thread(target=child, kwargs=order)
        killed.start()
        warehouse = LandingWarehouse.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
        warehouse.land(file, share=Share(index=0, of=2))
        killed.join(60)
    report = warehouse.land(file)
    assert report.files[0].state in ("landed", "duplicate"), (point, report)
    assert outcome(warehouse) == simple, point
    assert_nothing_left_over(warehouse)
    warehouse.catalog.close()
