"""Small partitions that are built together: one commit for all, and what happens when something comes in between (I5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets.building import group_plan
from timestore_assets.building.builder import BuildReport
from timestore_assets.building.group_merge import streamed
from timestore_assets.model.errors import ConflictError, TimestoreError
from timestore_assets.segments.engine import connect
from timestore_assets.upkeep.collect import collect
from timestore_assets_tests.integration.test_building_races import break_a_commit
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, building_warehouse_in, reading

DAYS = range(1, 6)
NONE = timedelta(0)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[BuildingWarehouse]:
    made = building_warehouse_in(tmp_path)
    for rev in (1, 2):
        made.land([reading(device, 1, rev * 1.5, rev, day=day) for device in "ab" for day in DAYS])
    yield made
    made.catalog.close()


@pytest.fixture
def commits(warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the catalog was asked to commit one build, and a group of builds."""
    asked: Counter[str] = Counter()
    for name in ("build", "build_group"):
        original = getattr(warehouse.catalog.commits, name)

        def counted(commit: Any, name: str = name, original: Callable[[Any], int] = original) -> int:
            asked[name] += 1
            return original(commit)

        monkeypatch.setattr(warehouse.catalog.commits, name, counted)
    return asked


def built(warehouse: BuildingWarehouse, *, close: bool = True) -> list[BuildReport]:
    with warehouse.builder() as builder:
        days = [warehouse.partition(day) for day in DAYS]
        return list(builder.build_each(warehouse.dataset, days, close=close, actor="test"))


class Before:
    """The store, with something that happens once, before the objects of a build are made."""

    def __init__(self, store: Any, happens: Callable[[], object]) -> None:
        self._store, self._happens = store, [happens]

    def __getattr__(self, name: str) -> Any:
        if name == "promote" and self._happens:
            self._happens.pop()()
        return getattr(self._store, name)


def check_all_built(warehouse: BuildingWarehouse) -> None:
    assert all(warehouse.known(day).state == "sealed" for day in DAYS)
    assert all(warehouse.rows(day) == [reading(device, 1, 3.0, 2, day=day) for device in "ab"] for day in DAYS)
    assert [row["action"] for row in warehouse.catalog.audit.newest() if row["action"] == "built"] == ["built"] * len(DAYS)
    collect(warehouse.catalog, warehouse.storage, intent_grace=NONE, keep_versions=NONE)
    live = {segment.name for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id)}
    assert {found.name for found in warehouse.store.list()} == live


def test_small_partitions_share_a_commit_and_each_makes_a_version(warehouse: BuildingWarehouse, commits: Counter[str]) -> None:
    before = warehouse.catalog.manifest.version(warehouse.dataset_id)
    reports = built(warehouse)
    assert commits == {"build_group": 1}
    assert [(report.outcome, report.rows, report.superseded_rows) for report in reports] == [("built", 2, 2)] * len(DAYS)
    assert [report.manifest_version for report in reports] == [before + number for number, _ in enumerate(DAYS, start=1)]
    held = warehouse.catalog.manifest.segments(warehouse.dataset_id, version=before + 2)
    assert [segment.kind for segment in held] == ["sealed"] * 2 + ["delta"] * 6
    assert [report.content_hash for report in reports] == [warehouse.content_hash(day) for day in DAYS]
    check_all_built(warehouse)


def test_building_together_twice_changes_nothing(warehouse: BuildingWarehouse, commits: Counter[str]) -> None:
    first = built(warehouse)
    again = built(warehouse)
    assert commits == {"build_group": 1}
    assert [report.outcome for report in again] == ["unchanged"] * len(DAYS)
    assert [replace(report, outcome="built", superseded_rows=2, seconds=0.0) for report in again] == [
        replace(report, seconds=0.0) for report in first
    ]


def test_a_large_partition_is_built_by_itself_in_its_place(
    warehouse: BuildingWarehouse, commits: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_plan, "SMALL_ROWS", 4)
    warehouse.land([reading("a", 1, rev=0, day=3)])
    assert [report.partition for report in built(warehouse)] == [warehouse.partition(day) for day in DAYS]
    assert commits == {"build_group": 2, "build": 1}
    check_all_built(warehouse)


def test_a_partition_that_somebody_else_builds_is_left_out_and_reported(
    warehouse: BuildingWarehouse, commits: Counter[str]
) -> None:
    resource = f"build:{warehouse.dataset_id}:{warehouse.partition(2).key}"
    rival = warehouse.catalog.leases.acquire(resource, holder="rival", ttl=timedelta(minutes=1))
    assert rival is not None
    with warehouse.builder() as builder:
        days = [warehouse.partition(day) for day in DAYS]
        reports = builder.build_each(READINGS, days, close=True, actor="test")
        assert next(reports).partition == days[0]
        with pytest.raises(ConflictError, match="2024-01-02 of readings is being built by somebody else"):
            next(reports)
    assert commits == {"build_group": 1}
    assert [warehouse.known(day).state for day in DAYS] == ["sealed", "open", "sealed", "sealed", "sealed"]
    warehouse.catalog.leases.release(rival)
    assert [report.outcome for report in built(warehouse)] == ["unchanged", "built", "unchanged", "unchanged", "unchanged"]
    check_all_built(warehouse)


def test_rows_that_land_meanwhile_stay_beside_what_was_built(warehouse: BuildingWarehouse, commits: Counter[str]) -> None:
    store = Before(warehouse.store, lambda: warehouse.land([reading("c", 1, day=2)]))
    built(replace(warehouse, store=store))
    assert commits == {"build_group": 1}
    assert [warehouse.known(day).state for day in DAYS] == ["sealed", "open", "sealed", "sealed", "sealed"]
    assert len(warehouse.rows(2)) == 3
    assert built(warehouse)[1].rows == 3


def test_rows_that_are_retracted_meanwhile_are_left_out_by_building_one_by_one(
    warehouse: BuildingWarehouse, commits: Counter[str]
) -> None:
    gone = warehouse.land([reading("gone", 1, day=day) for day in DAYS])
    store = Before(warehouse.store, lambda: warehouse.land([reading("c", 1, day=2)], retract=[gone]))
    built(replace(warehouse, store=store))
    assert commits == {"build_group": 1, "build": len(DAYS)}
    assert [{row[0] for row in warehouse.rows(day)} for day in DAYS] == [{"a", "b"}, {"a", "b", "c"}, *([{"a", "b"}] * 3)]


def test_a_group_whose_segments_another_build_has_replaced_is_built_one_by_one(
    warehouse: BuildingWarehouse, commits: Counter[str]
) -> None:
    def rival() -> None:
        # its claim was not seen: what counts is the comparison of the commit
        warehouse.catalog.database.write(lambda c: c.exec_driver_sql("DELETE FROM leases"))
        with warehouse.builder() as other:
            other.build(READINGS, warehouse.partition(4), close=True, actor="rival")

    assert [report.outcome for report in built(replace(warehouse, store=Before(warehouse.store, rival)))] == [
        *["built"] * 3,
        "unchanged",
        "built",
    ]
    assert commits == {"build_group": 1, "build": 5}
    check_all_built(warehouse)


def test_a_damaged_segment_is_named_with_its_partition_and_the_others_are_built(warehouse: BuildingWarehouse) -> None:
    victim = next(one for one in warehouse.catalog.manifest.segments(warehouse.dataset_id, partition=warehouse.partition(3)))
    path = warehouse.store.local_path(victim.name)
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-20] + bytes(20))
    with warehouse.builder() as builder:
        reports = builder.build_each(READINGS, [warehouse.partition(day) for day in DAYS], close=True, actor="test")
        assert [next(reports).outcome, next(reports).outcome] == ["built", "built"]
        with pytest.raises(TimestoreError, match=victim.name):
            next(reports)
    path.write_bytes(whole)
    built(warehouse)
    check_all_built(warehouse)


@pytest.mark.parametrize("done", [True, False])
def test_a_group_whose_commit_is_in_doubt_happens_exactly_once(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    broken, commit_group = [], warehouse.catalog.commits.build_group

    def commit(group: Any) -> int:
        if not broken:
            broken.append(break_a_commit(warehouse, monkeypatch, done=done))
        return commit_group(group)

    monkeypatch.setattr(warehouse.catalog.commits, "build_group", commit)
    assert [report.outcome for report in built(warehouse)] == ["built"] * len(DAYS)
    assert broken == [["commit", "look"]]
    check_all_built(warehouse)
    events = warehouse.catalog.outbox.claim(holder="test", limit=100, ttl=timedelta(minutes=1))
    assert len([event for event in events if event.kind == "partition_built"]) == len(DAYS)


def test_a_group_that_is_broken_off_leaves_nothing_in_the_way(warehouse: BuildingWarehouse, commits: Counter[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(replace(warehouse, store=Before(warehouse.store, interrupted)))
    assert not commits
    built(warehouse)
    assert commits == {"build_group": 1}
    check_all_built(warehouse)


def test_open_partitions_are_merged_together_and_stay_open(warehouse: BuildingWarehouse, commits: Counter[str]) -> None:
    reports = built(warehouse, close=False)
    assert commits == {"build_group": 1, "build": 1}, "the last day is open by itself"
    assert [report.state for report in reports] == [*["sealed"] * 4, "open"]


def test_what_a_broken_off_caller_has_not_taken_is_told_by_an_event(warehouse: BuildingWarehouse) -> None:
    days = [warehouse.partition(day) for day in DAYS]
    with warehouse.builder() as builder:
        reports = builder.build_each(READINGS, days, close=True, report=False, actor="test")
        taken = [next(reports), next(reports)]
        reports.close()
    assert [report.partition for report in taken] == days[:2]
    events = warehouse.catalog.outbox.claim(holder="test", limit=100, ttl=timedelta(minutes=1))
    told = [(event.payload["partition"], event.payload["state"]) for event in events if event.kind == "partition_built"]
    # the second may have been reported, or not: it is told rather twice than never
    assert told == [(day.key, "sealed") for day in days[1:]]
    check_all_built(warehouse)


def test_a_connection_that_is_interrupted_while_rows_are_streamed_says_so(warehouse: BuildingWarehouse) -> None:
    with connect(warehouse.limits) as con:
        batches = streamed(con, "SELECT * FROM range(10_000_000_000)", rows=2048)
        assert next(batches).num_rows == 2048
        con.interrupt()
        with pytest.raises(duckdb.InterruptException):
            for _ in batches:
                pass
