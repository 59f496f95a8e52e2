"""Retention, collection and erasure that are killed: each partition is whole or gone, and the next run finishes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from timestore_assets.catalog.tables import sessions
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.forked_programs import ForkedPrograms
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse
from timestore_assets_tests.support.retention_child import SUBJECT, act, warehouse_in

pytestmark = pytest.mark.slow

DAYS = [f"2013-01-{day:02}" for day in range(1, 11)]


def landed(folder: Path) -> LandingWarehouse:
    """Two rows a day, one of them the subject's."""
    warehouse = warehouse_in(folder)
    rows = "".join(f"{day}T01:00,{station},1\n" for day in DAYS for station in ("JFK", SUBJECT))
    warehouse.land_one("days.csv", f"ts,station,temp\n{rows}")
    return warehouse


def killed(programs: ForkedPrograms, folder: Path, what: str, point: str) -> None:
    done = programs.run("retention_child", str(folder), what, point)
    assert done.returncode == -signal.SIGKILL, done.stderr


def expired(warehouse: LandingWarehouse) -> list[str]:
    return [one.partition.key for one in warehouse.catalog.partitions.of(warehouse.record.id) if one.state == "expired"]


def check_sound(warehouse: LandingWarehouse) -> None:
    """Every row of a partition is there, or none; the audit and the events tell of just those that are gone."""
    catalog, gone = warehouse.catalog, expired(warehouse)
    assert len(warehouse.rows()) == 2 * (len(DAYS) - len(gone))
    assert verify(catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    told = [row["details"]["partition"] for row in catalog.audit.newest() if row["action"] == "partition_expired"]
    assert sorted(told) == gone


@pytest.mark.parametrize(("point", "gone"), [("before:expire:1", 0), ("after:expire:1", 1), ("after:expire:2", 2)])
def test_a_killed_retention_has_done_whole_partitions(programs: ForkedPrograms, tmp_path: Path, point: str, gone: int) -> None:
    warehouse = landed(tmp_path)
    killed(programs, tmp_path, "retention", point)
    assert expired(warehouse) == DAYS[:gone]
    check_sound(warehouse)
    act(warehouse, "retention")
    assert expired(warehouse) == DAYS[:3]
    check_sound(warehouse)
    warehouse.catalog.close()


@pytest.mark.parametrize(
    "point", ["before:collect_segments:1", "after:collect_segments:1", "before:delete:1", "before:deleted:1"]
)
def test_a_collection_that_is_killed_after_a_retention_is_finished(programs: ForkedPrograms, tmp_path: Path, point: str) -> None:
    warehouse = landed(tmp_path)
    act(warehouse, "retention")
    killed(programs, tmp_path, "collect", point)
    check_sound(warehouse)
    act(warehouse, "collect")
    check_sound(warehouse)
    assert warehouse.objects() == {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.record.id)}
    assert warehouse.catalog.objects.collected() == []
    warehouse.catalog.close()


@pytest.mark.parametrize(
    "point",
    ["before:promote:2", "after:build:1", "after:build:10", "after:raise_floor:1", "before:deleted:1"],
)
def test_a_killed_erasure_is_finished_by_the_next(programs: ForkedPrograms, tmp_path: Path, point: str) -> None:
    warehouse = landed(tmp_path)
    killed(programs, tmp_path, "erase", point)
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    kept = [row for row in warehouse.rows("station") if row != (SUBJECT,)]
    assert len(kept) == len(DAYS)

    act(warehouse, "erase")
    assert warehouse.rows("station") == [("JFK",)] * len(DAYS)
    # as long as its session might come back, what that may have read stays; here its time is over at once
    warehouse.catalog.database.write(lambda c: c.execute(sessions.update().values(expires_at=0)))
    act(warehouse, "collect")
    assert warehouse.rows("station") == [("JFK",)] * len(DAYS)
    left = [name for name in warehouse.objects() if SUBJECT.encode() in warehouse.store.local_path(name).read_bytes()]
    assert left == []
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, warehouse.record).ok
    warehouse.catalog.close()
