"""I1, I2 at size: a landing in parts, several at a time, killed at any point and finished, leaves what one simple run leaves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.landing.bulk_limits import BulkLimits
from timestore_assets.landing.sharing import Share
from timestore_assets_tests.crash.test_landing_crash import assert_nothing_left_over
from timestore_assets_tests.landing_child import DATASET, TTL
from timestore_assets_tests.landing_ground import Ground

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "5"))
ROWS, GROUP = 400, 50
BULK = BulkLimits(chunk_bytes=1, commit_bytes=2000, parallel=2, batch_rows=15)
"""Eight parts of a few commits of two or three batches each."""

Child = Callable[..., str]
Outcome = tuple[str, list[Any], list[Any], Any]


@contextmanager
def landing_child() -> Iterator[Child]:
    command = [sys.executable, "-m", "timestore_assets_tests.landing_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def run(**order: Any) -> str:
            orders.write(json.dumps(order | {"bulk": asdict(BULK)}) + "\n")
            orders.flush()
            return answers.readline().strip()

        yield run
        orders.close()
        process.wait(60)


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with landing_child() as run:
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


def outcome(ground: Ground) -> Outcome:
    """What must depend neither on how a file was cut nor on how often its landing was killed."""
    letters = sorted((letter.position, letter.line, letter.code, letter.column, letter.raw) for letter in ground.letters())
    rows = sorted(zip((position for _, position in ground.places()), ground.rows(), strict=True), key=lambda row: row[0])
    return ground.content_hash(), rows, letters, ground.counters()


@pytest.fixture(scope="module")
def simple(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What one whole, narrow landing leaves."""
    ground = Ground.at(tmp_path_factory.mktemp("simple"), DATASET)
    counters = ground.land(file, chunk_rows=100).counters
    assert counters.read == ROWS
    assert counters.dead_letters > 10
    found = outcome(ground)
    ground.catalog.close()
    return found


@pytest.fixture(scope="module")
def calls(child: Child, file: Path, simple: Outcome, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls a landing in parts makes, none of which changes what it leaves."""
    root = tmp_path_factory.mktemp("clean")
    Ground.at(root, DATASET).catalog.close()
    made = int(child(root=str(root), file=str(file), calls=0))
    ground = Ground.at(root, DATASET)
    assert outcome(ground) == simple
    ground.catalog.close()
    return made


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_finished_is_as_if_never_killed(
    run: int, child: Child, file: Path, simple: Outcome, calls: int, tmp_path: Path
) -> None:
    point = random.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1
    Ground.at(tmp_path, DATASET).catalog.close()
    # threads make a few calls more or less each time, so a point near the end may come too late
    child(root=str(tmp_path), file=str(file), calls=point)
    ground = Ground.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
    if ground.catalog.dataset(DATASET.name) is not None:
        between = ground.counters()
        assert between.balanced, point
        assert between.landed == len(ground.rows()), point
    report = ground.land(file)
    assert report.files[0].state in ("landed", "duplicate"), (point, report)
    assert outcome(ground) == simple, point
    assert_nothing_left_over(ground)
    ground.catalog.close()


def test_killed_many_times_over(child: Child, file: Path, simple: Outcome, calls: int, tmp_path: Path) -> None:
    Ground.at(tmp_path, DATASET).catalog.close()
    for _ in range(3):
        child(root=str(tmp_path), file=str(file), calls=random.randrange(calls // 4, calls // 2))
    ground = Ground.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
    ground.land(file)
    assert outcome(ground) == simple
    assert_nothing_left_over(ground)
    ground.catalog.close()


def test_two_sessions_share_a_file_and_one_is_killed(file: Path, simple: Outcome, calls: int, tmp_path: Path) -> None:
    Ground.at(tmp_path, DATASET).catalog.close()
    point = random.randrange(calls // 4, calls * 3 // 4)
    with landing_child() as child:
        order = {"root": str(tmp_path), "file": str(file), "calls": point, "share": {"index": 1, "of": 2}}
        killed = threading.Thread(target=child, kwargs=order)
        killed.start()
        ground = Ground.at(tmp_path, DATASET, ttl=TTL, bulk=BULK)
        ground.land(file, share=Share(index=0, of=2))
        killed.join(60)
    report = ground.land(file)
    assert report.files[0].state in ("landed", "duplicate"), (point, report)
    assert outcome(ground) == simple, point
    assert_nothing_left_over(ground)
    ground.catalog.close()
