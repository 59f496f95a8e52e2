"""Builds that race landings and each other: nothing is lost, one of them wins (I5)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from timestore_assets.building.builder import Builder, BuildReport
from timestore_assets.catalog import audit
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import BuildCommit
from timestore_assets.model.errors import ConflictError, LeaseLostError, UnavailableError, UnknownOutcomeError
from timestore_assets.retry import RetryPolicy
from timestore_assets_tests.support.building_warehouse import READINGS, BuildingWarehouse, building_warehouse_in, reading

PLAIN = replace(READINGS, dedupe=None)
DEADLINE = 60


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[BuildingWarehouse]:
    made = building_warehouse_in(tmp_path, PLAIN)
    yield made
    made.catalog.close()


def test_a_build_that_races_landings_loses_none_of_their_rows(warehouse: BuildingWarehouse) -> None:
    landings, rows_each = 12, 5
    warehouse.land([reading("first", 0)])
    finished = threading.Event()

    def build_until_finished() -> list[BuildReport]:
        reports = []
        with warehouse.builder() as builder:
            while not finished.is_set():
                reports.append(builder.build(PLAIN, warehouse.partition(), close=len(reports) % 2 == 0, actor="test"))
        return reports

    def land(worker: int) -> None:
        for n in range(landings // 2):
            warehouse.land([reading(f"w{worker}", n * 10 + i) for i in range(rows_each)])

    with ThreadPoolExecutor(3) as pool:
        building = pool.submit(build_until_finished)
        for landing in [pool.submit(land, 1), pool.submit(land, 2)]:
            landing.result(DEADLINE)
        finished.set()
        reports = building.result(DEADLINE)
    with warehouse.builder() as builder:
        final = builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
    assert any(report.outcome == "built" for report in reports)
    assert (final.rows, final.state) == (1 + landings * rows_each, "sealed")
    assert len(set(warehouse.rows())) == final.rows
    version = warehouse.catalog.manifest.version(warehouse.dataset_id)
    assert version >= landings + len([report for report in reports if report.outcome == "built"])


def test_a_landing_during_the_merge_stays_beside_the_result(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1), reading("a", 2)])
    store, landed = warehouse.store, []

    class LandsMeanwhile:
        """The store, with a landing between the merge and its publication."""

        def __getattr__(self, name: str) -> object:
            if name == "promote" and not landed:
                landed.append(warehouse.land([reading("a", 3)]))
            return getattr(store, name)

    with replace(warehouse, store=LandsMeanwhile()).builder() as builder:
        report = builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
        assert report.outcome == "built"
        assert [segment.kind for segment in warehouse.catalog.manifest.segments(warehouse.dataset_id)] == ["delta", "sealed"]
        assert warehouse.known().state != "sealed"
        again = builder.build(PLAIN, warehouse.partition(), close=False, actor="test")
    assert (again.rows, again.state, again.segments) == (3, "sealed", 1)


def test_of_many_builders_of_one_partition_one_wins_and_the_others_are_told(warehouse: BuildingWarehouse) -> None:
    for n in range(4):
        warehouse.land([reading("a", n)])
    start = threading.Barrier(4)

    def build() -> str:
        with warehouse.builder() as builder:
            start.wait(DEADLINE)
            try:
                return builder.build(PLAIN, warehouse.partition(), close=True, actor="test").outcome
            except ConflictError:
                return "refused"

    with ThreadPoolExecutor(4) as pool:
        outcomes = [done.result(DEADLINE) for done in [pool.submit(build) for _ in range(4)]]
    assert outcomes.count("built") == 1
    assert set(outcomes) <= {"built", "unchanged", "refused"}
    assert (warehouse.known().rows, warehouse.known().state) == (4, "sealed")


def test_what_was_built_under_a_lease_that_a_rival_has_by_now_is_not_published(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.land([reading("a", 1)])
    before = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    resource, store = f"build:{warehouse.dataset_id}:{warehouse.partition().key}", warehouse.store

    class Overtaken:
        """The store, with a rival who takes the lease while objects are made."""

        def __getattr__(self, name: str) -> object:
            if name == "promote":
                assert warehouse.catalog.leases.acquire(resource, holder="rival", ttl=timedelta(minutes=1)) is not None
            return getattr(store, name)

    # a builder whose heart does not beat
    monkeypatch.setattr("timestore_assets.catalog.lease_keeper.LeaseKeeper.keep", lambda _, held: held)
    zombie = replace(warehouse, store=Overtaken()).builder(lease=timedelta(microseconds=1))
    with zombie as builder, pytest.raises(LeaseLostError, match=f"lease {resource} expired"):
        builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
    assert warehouse.catalog.manifest.segments(warehouse.dataset_id) == before


def test_a_long_build_keeps_its_claim_alive(warehouse: BuildingWarehouse) -> None:
    warehouse.land([reading("a", 1)])
    ttl = timedelta(seconds=0.6)
    store, refused = warehouse.store, []

    class Slow:
        """The store, with a publication that takes three lifetimes of the claim, in which a rival tries twice."""

        def __getattr__(self, name: str) -> object:
            if name == "promote" and not refused:
                for _ in range(2):
                    threading.Event().wait(ttl.total_seconds() * 1.5)
                    with warehouse.builder(lease=ttl) as rival, pytest.raises(ConflictError, match="being built"):
                        rival.build(PLAIN, warehouse.partition(), close=True, actor="rival")
                    refused.append(True)
            return getattr(store, name)

    with replace(warehouse, store=Slow()).builder(lease=ttl) as builder:
        assert builder.build(PLAIN, warehouse.partition(), close=True, actor="test").state == "sealed"
    assert len(refused) == 2


def break_a_commit(warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch, *, done: bool) -> list[str]:
    """Have the connection break at the next COMMIT, and at the look that should settle it; gives what broke."""
    assert isinstance(warehouse.catalog, Catalog)
    dialect, broken = warehouse.catalog.database.engine.dialect, list[str]()
    commit, committed = dialect.do_commit, audit.committed

    def do_commit(connection: Any) -> None:
        if "commit" in broken:
            commit(connection)
            return
        if done:
            commit(connection)
        else:
            connection.rollback()
        broken.append("commit")
        raise sqlite3.OperationalError("the connection broke")

    def look(connection: Any, token: str) -> int | None:
        if "look" in broken:
            return committed(connection, token)
        broken.append("look")
        raise OperationalError("look", {}, sqlite3.OperationalError("it is still away"))

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    monkeypatch.setattr(audit, "committed", look)
    return broken


@pytest.mark.parametrize("done", [True, False])
def test_a_build_whose_commit_is_in_doubt_happens_exactly_once(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    for minute in (1, 2):
        warehouse.land([reading("a", minute)])
    broken, commit_build = [], warehouse.catalog.commits.build

    def commit(build: BuildCommit) -> int:
        if not broken:
            broken.append(break_a_commit(warehouse, monkeypatch, done=done))
        return commit_build(build)

    monkeypatch.setattr(warehouse.catalog.commits, "build", commit)
    with warehouse.builder() as builder:
        report = builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
    assert broken == [["commit", "look"]]
    assert (report.outcome, report.rows, report.state) == ("built", 2, "sealed")
    assert len(warehouse.rows()) == 2
    assert [one["action"] for one in warehouse.catalog.audit.newest() if one["action"] == "built"] == ["built"]
    events = warehouse.catalog.outbox.claim(holder="test", limit=100, ttl=timedelta(minutes=1))
    assert [event.kind for event in events if event.kind == "partition_built"] == ["partition_built"]
    sealed = warehouse.catalog.manifest.segments(warehouse.dataset_id)
    assert [segment.kind for segment in sealed] == ["sealed"]
    assert warehouse.store.size(sealed[0].name) == sealed[0].bytes


def test_a_build_whose_catalog_stays_away_says_that_it_does_not_know(
    warehouse: BuildingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.land([reading("a", 1)])

    def unknown(_: BuildCommit) -> int:
        raise UnknownOutcomeError("it broke off during a commit, which may or may not have happened")

    def away(_: str) -> int:
        raise UnavailableError("away")

    monkeypatch.setattr(warehouse.catalog.commits, "build", unknown)
    monkeypatch.setattr(warehouse.catalog.commits, "committed", away)
    hasty = replace(warehouse.context, retry=RetryPolicy(seconds=0.0))
    with Builder(hasty) as builder, pytest.raises(UnknownOutcomeError, match="may or may not"):
        builder.build(PLAIN, warehouse.partition(), close=True, actor="test")
