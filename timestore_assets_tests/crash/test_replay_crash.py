"""I1, I2: a replay killed at any point and then run again leaves what one clean run leaves, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.catalog.records import Counters
from timestore_assets_tests.landing_ground import Ground
from timestore_assets_tests.replay_child import TTL
from timestore_assets_tests.replay_ground import FILES, MENDABLE, POISON, STRICT, land_topic, lines_of, mended, offsets, replay

RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "8"))
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
    command = [sys.executable, "-m", "timestore_assets_tests.replay_child"]
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


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with dead letters of files and of a topic."""
    root = tmp_path_factory.mktemp("poisoned")
    ground = Ground.at(root, STRICT, source=FILES)
    for number in range(3):
        ground.land_one(f"{number}.jsonl", lines_of([*POISON.values(), b"%d" % number]))
    land_topic(ground, offsets(list(POISON.values()) * COPIES, partitions=3))
    assert ground.counters().landed == 0
    ground.catalog.close()
    return root


@pytest.fixture
def ground(poisoned: Path, tmp_path: Path) -> Iterator[Ground]:
    root = tmp_path / "copy"
    shutil.copytree(poisoned, root)
    ground = Ground.at(root, mended(), ttl=TTL)
    yield ground
    ground.catalog.close()


def outcome(ground: Ground) -> Outcome:
    letters = sorted((one.source_partition, one.position, one.code, one.raw) for one in ground.letters())
    return Outcome(content=ground.content_hash(), places=sorted(ground.places()), letters=letters, counters=ground.counters())


@pytest.fixture(scope="module")
def clean(child: Child, poisoned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, int]:
    """What one run without a kill leaves, and how many calls it makes."""
    root = tmp_path_factory.mktemp("clean") / "copy"
    shutil.copytree(poisoned, root)
    calls = int(child(root=str(root), calls=0))
    ground = Ground.at(root, mended())
    found = outcome(ground)
    ground.catalog.close()
    assert found.counters.landed == len(found.places) == len(MENDABLE) * (3 + COPIES)
    assert found.counters.balanced
    return found, calls


@pytest.mark.parametrize("run", range(RUNS))
def test_killed_and_run_again_is_as_if_never_killed(run: int, child: Child, ground: Ground, clean: tuple[Outcome, int]) -> None:
    expected, calls = clean
    point = random.randrange(calls * run // RUNS, calls * (run + 1) // RUNS) + 1
    assert child(root=str(ground.root), calls=point) == "killed"
    between = ground.counters()
    assert between.balanced, point
    assert between.read == expected.counters.read, point
    assert between.landed == len(ground.places()), point
    assert between.dead_letters == len(ground.letters()), point
    replay(ground)
    assert outcome(ground) == expected, point
    assert_nothing_left_over(ground)


def test_killed_many_times_over(child: Child, ground: Ground, clean: tuple[Outcome, int]) -> None:
    expected, calls = clean
    for _ in range(4):
        child(root=str(ground.root), calls=random.randrange(calls // 4, calls // 2))
    replay(ground)
    assert outcome(ground) == expected
    assert_nothing_left_over(ground)


def assert_nothing_left_over(ground: Ground) -> None:
    """After the leases of the dead have expired, a collection leaves exactly what the catalog names."""
    known = {file.name for _, file, _ in ground.catalog.dead_letter_files(ground.record.id, settled=True)}
    known |= {segment.name for segment in ground.catalog.segments(ground.record.id)}
    deadline = time.monotonic() + 20
    while ground.collect() and ground.objects() != known and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ground.objects() == known
    assert ground.catalog.known_objects() == known
