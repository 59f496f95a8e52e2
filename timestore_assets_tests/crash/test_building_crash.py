"""Builders that are killed or come back from the dead: the next build ends in the same content, nothing is left over."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, building_warehouse_in, reading

ROOT = Path(__file__).parents[2]
DAYS = 2
LEASE = 0.8
DEADLINE = 60
RUNS = int(os.environ.get("TIMESTORE_CRASH_RUNS", "3"))
POINTS = [
    "after:acquire:1",
    "after:begin:1",
    "before:announce:1",
    "after:announce:1",
    "after:promote:1",
    "before:build:2",
    "after:build:1",
    "after:build:2",
]
POINTS_OF_A_GROUP = [
    "after:acquire_each:1",
    "after:begin:1",
    "before:announce:1",
    "after:announce:1",
    "after:promote:1",
    "before:build_group:1",
    "after:build_group:1",
    "before:release_all:1",
]


@contextmanager
def child(ground_folder: Path, point: str, *, marker: Path | None = None, how: str = "one") -> Iterator[subprocess.Popen[str]]:
    arguments = [str(ground_folder), str(DAYS), str(LEASE), how, point, *([str(marker)] if marker else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "timestore_assets_tests.support.building_child", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)


def landed(folder: Path) -> BuildingWarehouse:
    warehouse = building_warehouse_in(folder)
    for rev in range(1, 4):
        warehouse.land(
            [reading(device, minute, rev * 1.5, rev, day=day) for device in "ab" for minute in (1, rev, 30) for day in (1, 2)]
        )
    return warehouse


def built(warehouse: BuildingWarehouse) -> list[str | None]:
    with warehouse.builder() as builder:
        return [
            builder.build(READINGS, warehouse.partition(day), close=True, actor="test").content_hash for day in range(1, DAYS + 1)
        ]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[str | None]:
    warehouse = landed(tmp_path_factory.mktemp("clean"))
    hashes = built(warehouse)
    warehouse.catalog.close()
    return hashes


def wait_for_the_lease() -> None:
    # the dead builder's claim has to expire; there is nothing to be notified of
    time.sleep(LEASE + 0.1)


def check_finished(warehouse: BuildingWarehouse, clean: list[str | None]) -> None:
    wait_for_the_lease()
    assert built(warehouse) == clean == [warehouse.content_hash(day) for day in range(1, DAYS + 1)]
    assert all(warehouse.known(day).state == "sealed" for day in range(1, DAYS + 1))
    none = timedelta(0)
    collect(warehouse.catalog, warehouse.storage, intent_grace=none, keep_versions=none)
    live = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id)}
    assert {found.name for found in warehouse.store.list()} == live
    assert built(warehouse) == clean


@pytest.mark.parametrize("point", POINTS)
def test_a_builder_killed_at_any_step_leaves_nothing_that_the_next_one_cannot_finish(
    tmp_path: Path, clean: list[str | None], point: str
) -> None:
    warehouse = landed(tmp_path)
    with child(tmp_path, point) as process:
        assert process.wait(DEADLINE) == -signal.SIGKILL
    check_finished(warehouse, clean)
    warehouse.catalog.close()


@pytest.mark.parametrize("point", POINTS_OF_A_GROUP)
def test_a_builder_of_many_killed_at_any_step_leaves_all_of_them_or_none(
    tmp_path: Path, clean: list[str | None], point: str
) -> None:
    warehouse = landed(tmp_path)
    with child(tmp_path, point, how="together") as process:
        assert process.wait(DEADLINE) == -signal.SIGKILL
    is_done = point in ("after:build_group:1", "before:release_all:1")
    assert [warehouse.known(day).state for day in range(1, DAYS + 1)] == ["sealed" if is_done else "open"] * DAYS
    check_finished(warehouse, clean)
    warehouse.catalog.close()


@pytest.mark.parametrize("how", ["one", "together"])
def test_builders_killed_at_random_times(tmp_path: Path, clean: list[str | None], how: str) -> None:
    random = Random(11)
    for run in range(RUNS):
        folder = tmp_path / str(run)
        warehouse = landed(folder)
        with child(folder, "none", how=how) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0, 0.25))
            process.kill()
            process.wait(DEADLINE)
        check_finished(warehouse, clean)
        warehouse.catalog.close()


@pytest.mark.parametrize("point", ["before:promote:1", "before:build:1"])
def test_a_builder_that_comes_back_from_the_dead_changes_nothing(tmp_path: Path, clean: list[str | None], point: str) -> None:
    folder, marker = tmp_path / "warehouse", tmp_path / "reached"
    warehouse = landed(folder)
    with child(folder, point, marker=marker) as zombie:
        deadline = time.monotonic() + DEADLINE
        while not marker.exists():
            assert time.monotonic() < deadline and zombie.poll() is None
            time.sleep(0.01)
        with closing(sqlite3.connect(folder / "catalog.sqlite", timeout=DEADLINE)) as catalog:
            # so that it is not stopped in the middle of a transaction of its own, which would lock out everybody
            catalog.execute("BEGIN IMMEDIATE")
            zombie.send_signal(signal.SIGSTOP)
        wait_for_the_lease()
        assert built(warehouse) == clean
        version = warehouse.catalog.manifest.version(warehouse.dataset_id)
        marker.with_suffix(".go").touch()
        zombie.send_signal(signal.SIGCONT)
        output, errors = zombie.communicate(timeout=DEADLINE)
    assert zombie.returncode == 0, errors
    outcomes = output.splitlines()[1:]
    assert outcomes[0].startswith("conflict: the lease build:") or outcomes[0] == "unchanged"
    assert outcomes[1] == "unchanged"
    assert warehouse.catalog.manifest.version(warehouse.dataset_id) == version
    check_finished(warehouse, clean)
    warehouse.catalog.close()
