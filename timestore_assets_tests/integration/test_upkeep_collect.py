"""Collection removes what nothing needs, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.storage.port import Upload
from timestore_assets.upkeep.collect import CollectReport, collect
from timestore_assets_tests.storage_ground import storage_ground
from timestore_assets_tests.upkeep_ground import UpkeepGround

NOW = timedelta(0)
LONG = timedelta(hours=1)


@pytest.fixture
def ground(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[UpkeepGround]:
    catalog = SqlCatalog.open(sqlite_catalog_url)
    with storage_ground(tmp_path) as storage:
        yield UpkeepGround(catalog, storage)
    catalog.close()


def run(ground: UpkeepGround, *, grace: timedelta = NOW, keep: timedelta = NOW) -> CollectReport:
    return collect(ground.catalog, ground.storage, intent_grace=grace, keep_versions=keep)


def test_live_segments_stay(ground: UpkeepGround) -> None:
    ground.land(0)
    ground.catalog.end_session(ground.ground.session)
    report = run(ground)
    assert report == CollectReport(
        unfinished_files=0, superseded_segments=0, orphaned_files=0, orphaned_bytes=0, staging_folders=0
    )
    assert ground.names() == ground.ground.names()


def test_superseded_segments_go_after_their_time(ground: UpkeepGround) -> None:
    old = ground.land(0)
    sealed = ground.seal(0)
    ground.catalog.end_session(ground.ground.session)
    assert run(ground, keep=LONG).superseded_segments == 0
    assert ground.names() == sorted([old.name, sealed.name])
    assert run(ground).superseded_segments == 1
    assert ground.names() == [sealed.name]


def test_a_pinned_version_keeps_its_files(ground: UpkeepGround) -> None:
    old = ground.land(0)
    _, lease = ground.catalog.pin(ground.ground.id, version=None, holder="reader", ttl=LONG)
    sealed = ground.seal(0)
    ground.catalog.end_session(ground.ground.session)
    assert run(ground).superseded_segments == 0
    assert old.name in ground.names()
    ground.catalog.release(lease)
    assert run(ground).superseded_segments == 1
    assert ground.names() == [sealed.name]


def test_files_of_a_live_session_stay_until_it_is_dead(ground: UpkeepGround) -> None:
    unfinished = ground.segment(0, 10)
    assert run(ground).unfinished_files == 0
    assert ground.names() == [unfinished.name]
    ground.catalog.end_session(ground.ground.session)
    assert run(ground, grace=LONG).unfinished_files == 0
    assert run(ground).unfinished_files == 1
    assert ground.names() == []


def test_a_commit_after_its_files_were_collected_is_refused(ground: UpkeepGround) -> None:
    """The catalog forgets the intent first, so a zombie that comes back can't publish a file that is gone."""
    from timestore_assets.model.errors import ConflictError

    segment = ground.segment(0, 10)
    ground.catalog.end_session(ground.ground.session)
    run(ground)
    with pytest.raises(ConflictError):
        ground.ground.land("a", segment)
    assert ground.ground.live() == []


def test_unknown_files_go_when_they_are_old(ground: UpkeepGround) -> None:
    kept = ground.land(0)
    staged = ground.store.staging("test") / "file"
    staged.write_bytes(b"x" * 100)
    ground.store.promote([Upload(staged=staged, name="weather/stray.parquet")])
    assert run(ground, grace=LONG).orphaned_files == 0
    path = ground.store.local_path("weather/stray.parquet")
    os.utime(path, (0, path.stat().st_mtime - 7200))
    report = run(ground, grace=LONG)
    assert (report.orphaned_files, report.orphaned_bytes) == (1, 100)
    assert ground.names() == [kept.name]


def test_old_files_that_are_announced_stay(ground: UpkeepGround) -> None:
    unfinished = ground.segment(0, 10)
    os.utime(ground.store.local_path(unfinished.name), (0, 0))
    assert run(ground).orphaned_files == 0
    ground.ground.land("a", unfinished)
    assert run(ground).orphaned_files == 0
    assert ground.names() == ground.ground.names()


def test_many_superseded_segments_go_in_one_collection(ground: UpkeepGround) -> None:
    for seed in range(30):
        ground.land(0, 1, seed=seed)
    sealed = ground.seal(0, format="duckdb")
    ground.catalog.end_session(ground.ground.session)
    assert run(ground).superseded_segments == 30
    assert ground.names() == [sealed.name]
    assert run(ground).superseded_segments == 0


def test_collecting_twice_at_once_is_harmless(ground: UpkeepGround) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for seed in range(20):
        ground.land(0, 1, seed=seed)
    sealed = ground.seal(0)
    ground.catalog.end_session(ground.ground.session)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: run(ground), range(4)))
    assert sum(report.superseded_segments for report in reports) + sum(report.orphaned_files for report in reports) >= 20
    assert ground.names() == [sealed.name]


def test_names_the_catalog_gives_are_checked(ground: UpkeepGround) -> None:
    """A row that was tampered with must not delete a file outside the store."""
    from timestore_assets.model.errors import InputError

    outside = ground.store.root.parent / "precious"
    outside.write_text("x")
    segment = ground.ground.segment(0)
    ground.catalog.announce(ground.ground.session, ["../precious"])
    assert replace(segment, name="../precious").name == "../precious"
    ground.catalog.end_session(ground.ground.session)
    with pytest.raises(InputError):
        run(ground)
    assert outside.exists()
