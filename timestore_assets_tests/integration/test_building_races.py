"""Builds that race landings and each other: nothing is lost, one of them wins (I5)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.building.report import BuildReport
from timestore_assets.model.errors import ConflictError
from timestore_assets_tests.building_ground import READINGS, Ground, ground_in, reading

PLAIN = replace(READINGS, dedupe=None)
DEADLINE = 60


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = ground_in(tmp_path, PLAIN)
    yield made
    made.catalog.close()


def test_a_build_that_races_landings_loses_none_of_their_rows(ground: Ground) -> None:
    landings, rows_each = 12, 5
    ground.land([reading("first", 0)])
    finished = threading.Event()

    def build_until_finished() -> list[BuildReport]:
        reports = []
        with ground.builder() as builder:
            while not finished.is_set():
                reports.append(builder.build(PLAIN, ground.partition(), close=len(reports) % 2 == 0, actor="test"))
        return reports

    def land(worker: int) -> None:
        for n in range(landings // 2):
            ground.land([reading(f"w{worker}", n * 10 + i) for i in range(rows_each)])

    with ThreadPoolExecutor(3) as pool:
        building = pool.submit(build_until_finished)
        for landing in [pool.submit(land, 1), pool.submit(land, 2)]:
            landing.result(DEADLINE)
        finished.set()
        reports = building.result(DEADLINE)
    with ground.builder() as builder:
        final = builder.build(PLAIN, ground.partition(), close=True, actor="test")
    assert any(report.outcome == "built" for report in reports)
    assert (final.rows, final.state) == (1 + landings * rows_each, "sealed")
    assert len(set(ground.rows())) == final.rows
    version = ground.catalog.manifest_version(ground.dataset_id)
    assert version >= landings + len([report for report in reports if report.outcome == "built"])


def test_a_landing_during_the_merge_stays_beside_the_result(ground: Ground) -> None:
    ground.land([reading("a", 1), reading("a", 2)])
    store, landed = ground.store, []

    class LandsMeanwhile:
        """The store, with a landing between the merge and its publication."""

        def __getattr__(self, name: str) -> object:
            if name == "promote" and not landed:
                landed.append(ground.land([reading("a", 3)]))
            return getattr(store, name)

    with replace(ground, store=LandsMeanwhile()).builder() as builder:  # type: ignore[arg-type]
        report = builder.build(PLAIN, ground.partition(), close=True, actor="test")
        assert report.outcome == "built"
        assert [segment.kind for segment in ground.catalog.segments(ground.dataset_id)] == ["delta", "sealed"]
        assert ground.known().state != "sealed"
        again = builder.build(PLAIN, ground.partition(), close=False, actor="test")
    assert (again.rows, again.state, again.segments) == (3, "sealed", 1)


def test_of_many_builders_of_one_partition_one_wins_and_the_others_are_told(ground: Ground) -> None:
    for n in range(4):
        ground.land([reading("a", n)])
    start = threading.Barrier(4)

    def build() -> str:
        with ground.builder() as builder:
            start.wait(DEADLINE)
            try:
                return builder.build(PLAIN, ground.partition(), close=True, actor="test").outcome
            except ConflictError:
                return "refused"

    with ThreadPoolExecutor(4) as pool:
        outcomes = [done.result(DEADLINE) for done in [pool.submit(build) for _ in range(4)]]
    assert outcomes.count("built") == 1
    assert set(outcomes) <= {"built", "unchanged", "refused"}
    assert (ground.known().rows, ground.known().state) == (4, "sealed")


def test_a_long_build_keeps_its_claim_alive(ground: Ground) -> None:
    ground.land([reading("a", 1)])
    ttl = timedelta(seconds=0.6)
    store, refused = ground.store, []

    class Slow:
        """The store, with a publication that takes three lifetimes of the claim, in which a rival tries twice."""

        def __getattr__(self, name: str) -> object:
            if name == "promote" and not refused:
                for _ in range(2):
                    threading.Event().wait(ttl.total_seconds() * 1.5)
                    with ground.builder(lease=ttl) as rival, pytest.raises(ConflictError, match="being built"):
                        rival.build(PLAIN, ground.partition(), close=True, actor="rival")
                    refused.append(True)
            return getattr(store, name)

    with replace(ground, store=Slow()).builder(lease=ttl) as builder:  # type: ignore[arg-type]
        assert builder.build(PLAIN, ground.partition(), close=True, actor="test").state == "sealed"
    assert len(refused) == 2
