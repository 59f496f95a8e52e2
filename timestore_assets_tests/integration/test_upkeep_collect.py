"""Collection removes what nothing needs, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.object_store import Upload
from timestore_assets.upkeep.collect import CollectReport, collect
from timestore_assets_tests.support.segment_store import segment_store
from timestore_assets_tests.support.upkeep_warehouse import UpkeepWarehouse

NOW = timedelta(0)
LONG = timedelta(hours=1)


@pytest.fixture
def warehouse(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[UpkeepWarehouse]:
    catalog = Catalog.open(sqlite_catalog_url)
    with segment_store(tmp_path) as storage:
        yield UpkeepWarehouse(catalog, storage)
    catalog.close()


def run(warehouse: UpkeepWarehouse, *, grace: timedelta = NOW, keep: timedelta = NOW) -> CollectReport:
    return collect(warehouse.catalog, warehouse.storage, intent_grace=grace, keep_versions=keep)


def test_live_segments_stay(warehouse: UpkeepWarehouse) -> None:
    warehouse.land(0)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    report = run(warehouse)
    assert report == CollectReport(
        unfinished_files=0, superseded_segments=0, orphaned_files=0, orphaned_bytes=0, staging_folders=0
    )
    assert warehouse.names() == warehouse.ground.names()


def test_superseded_segments_go_after_their_time(warehouse: UpkeepWarehouse) -> None:
    old = warehouse.land(0)
    sealed = warehouse.seal(0)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    assert run(warehouse, keep=LONG).superseded_segments == 0
    assert warehouse.names() == sorted([old.name, sealed.name])
    assert run(warehouse).superseded_segments == 1
    assert warehouse.names() == [sealed.name]


def test_a_pinned_version_keeps_its_files(warehouse: UpkeepWarehouse) -> None:
    old = warehouse.land(0)
    _, lease = warehouse.catalog.versions.pin(warehouse.ground.id, version=None, holder="reader", ttl=LONG)
    sealed = warehouse.seal(0)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    assert run(warehouse).superseded_segments == 0
    assert old.name in warehouse.names()
    warehouse.catalog.leases.release(lease)
    assert run(warehouse).superseded_segments == 1
    assert warehouse.names() == [sealed.name]


def test_files_of_a_live_session_stay_until_it_is_dead(warehouse: UpkeepWarehouse) -> None:
    unfinished = warehouse.segment(0, 10)
    assert run(warehouse).unfinished_files == 0
    assert warehouse.names() == [unfinished.name]
    warehouse.catalog.sessions.end(warehouse.ground.session)
    assert run(warehouse, grace=LONG).unfinished_files == 0
    assert run(warehouse).unfinished_files == 1
    assert warehouse.names() == []


def test_a_commit_after_its_files_were_collected_is_refused(warehouse: UpkeepWarehouse) -> None:
    """The catalog forgets the intent first, so a zombie that comes back can't publish a file that is gone."""
    from timestore_assets.model.errors import ConflictError

    segment = warehouse.segment(0, 10)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    run(warehouse)
    with pytest.raises(ConflictError):
        warehouse.ground.land("a", segment)
    assert warehouse.ground.live() == []


def test_unknown_files_go_when_they_are_old(warehouse: UpkeepWarehouse) -> None:
    kept = warehouse.land(0)
    staged = warehouse.store.staging("test") / "file"
    staged.write_bytes(b"x" * 100)
    warehouse.store.promote([Upload(staged=staged, name="weather/stray.parquet")])
    assert run(warehouse, grace=LONG).orphaned_files == 0
    path = warehouse.store.local_path("weather/stray.parquet")
    os.utime(path, (0, path.stat().st_mtime - 7200))
    report = run(warehouse, grace=LONG)
    assert (report.orphaned_files, report.orphaned_bytes) == (1, 100)
    assert warehouse.names() == [kept.name]


def test_old_files_that_are_announced_stay(warehouse: UpkeepWarehouse) -> None:
    unfinished = warehouse.segment(0, 10)
    os.utime(warehouse.store.local_path(unfinished.name), (0, 0))
    assert run(warehouse).orphaned_files == 0
    warehouse.ground.land("a", unfinished)
    assert run(warehouse).orphaned_files == 0
    assert warehouse.names() == warehouse.ground.names()


def test_many_superseded_segments_go_in_one_collection(warehouse: UpkeepWarehouse) -> None:
    for seed in range(30):
        warehouse.land(0, 1, seed=seed)
    sealed = warehouse.seal(0, format="duckdb")
    warehouse.catalog.sessions.end(warehouse.ground.session)
    assert run(warehouse).superseded_segments == 30
    assert warehouse.names() == [sealed.name]
    assert run(warehouse).superseded_segments == 0


def test_collecting_twice_at_once_is_harmless(warehouse: UpkeepWarehouse) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for seed in range(20):
        warehouse.land(0, 1, seed=seed)
    sealed = warehouse.seal(0)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: run(warehouse), range(4)))
    assert sum(report.superseded_segments for report in reports) + sum(report.orphaned_files for report in reports) >= 20
    assert warehouse.names() == [sealed.name]


def test_names_the_catalog_gives_are_checked(warehouse: UpkeepWarehouse) -> None:
    """A row that was tampered with must not delete a file outside the store."""
    from timestore_assets.model.errors import InputError

    outside = warehouse.store.root.parent / "precious"
    outside.write_text("x")
    segment = warehouse.ground.segment(0)
    warehouse.catalog.sessions.announce(warehouse.ground.session, ["../precious"])
    assert replace(segment, name="../precious").name == "../precious"
    warehouse.catalog.sessions.end(warehouse.ground.session)
    with pytest.raises(InputError):
        run(warehouse)
    assert outside.exists()
