"""Threads and processes on one catalog: no lost update, dense versions, whole versions."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import SourcePartition
from timestore_assets.model.errors import ConflictError
from timestore_assets_tests.support.catalog_dataset import WEATHER, CatalogDataset
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database, sqlite_url

WRITERS, COMMITS = 4, 12
SPAWN = multiprocessing.get_context("spawn")
DEADLINE = 120.0


def land_many(url: str, name: str, commits: int) -> None:
    """What one writer process does: its own source partition, several commits."""
    catalog = Catalog.open(url)
    catalog_dataset = CatalogDataset.of(catalog, WEATHER)
    for _ in range(commits):
        catalog_dataset.land(name, catalog_dataset.segment(rows=3), catalog_dataset.segment(1, rows=2))
    catalog.close()


def contend(url: str, name: str, wanted: int) -> int:
    """Advance one shared checkpoint until it stands at `wanted`; returns how often this writer won."""
    catalog = Catalog.open(url)
    catalog_dataset = CatalogDataset.of(catalog, WEATHER)
    won = 0
    while (partition := catalog_dataset.source_partition(name)).position.offset < wanted:
        try:
            catalog.commits.land(catalog_dataset.batch(partition, catalog_dataset.segment(rows=1)))
            won += 1
        except ConflictError:
            continue
    catalog.close()
    return won


def check_whole(catalog: Catalog, commits: int) -> None:
    """Every version holds exactly what its commit added: two segments of three and two rows."""
    record = catalog.datasets.find("weather")
    assert record is not None
    assert record.manifest_version == commits
    segments = catalog.manifest.segments(record.id)
    assert sorted(segment.added_version or 0 for segment in segments) == sorted([*range(1, commits + 1)] * 2)
    (source,) = catalog.sources.of(record.id)
    assert source.counters.read == source.counters.landed == sum(segment.rows for segment in segments) == commits * 5
    assert sum(one.rows for one in catalog.partitions.of(record.id)) == commits * 5


def test_threads_with_a_catalog_each(catalog_url: str) -> None:
    open_and_register(catalog_url)
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda i: land_many(catalog_url, f"writer-{i}", COMMITS), range(WRITERS), timeout=DEADLINE))
    catalog = Catalog.open(catalog_url)
    check_whole(catalog, WRITERS * COMMITS)
    catalog.close()


def test_threads_with_one_catalog(catalog_dataset: CatalogDataset) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda i: catalog_dataset.land(f"writer-{i % 8}-{i}"), range(40), timeout=DEADLINE))
    assert sorted(versions) == list(range(1, 41))
    assert catalog_dataset.counters().landed == catalog_dataset.rows() == 400


def test_processes_share_a_file(sqlite_catalog_url: str) -> None:
    processes = [SPAWN.Process(target=land_many, args=(sqlite_catalog_url, f"writer-{i}", COMMITS)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    catalog = Catalog.open(sqlite_catalog_url)
    check_whole(catalog, 3 * COMMITS)
    catalog.close()


def test_writers_of_one_checkpoint_take_turns(catalog_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        won = list(pool.map(lambda _: contend(catalog_url, "shared", 30), range(3), timeout=DEADLINE))
    assert sum(won) == 30
    catalog = Catalog.open(catalog_url)
    record = catalog.datasets.register(WEATHER, actor="test")
    assert catalog.manifest.version(record.id) == sum(segment.rows for segment in catalog.manifest.segments(record.id)) == 30
    catalog.close()


def test_readers_see_whole_versions_while_builds_run(catalog_url: str) -> None:
    """Each build replaces all of a partition's rows by as many: a mix of two versions would show another sum."""
    writer = Catalog.open(catalog_url)
    catalog_dataset = CatalogDataset.of(writer)
    catalog_dataset.land("a", *(catalog_dataset.segment(rows=5) for _ in range(6)))
    done = threading.Event()
    sums: list[int] = []

    def read() -> None:
        reader = Catalog.open(catalog_url)
        while not done.is_set() or not sums:
            sums.append(sum(segment.rows for segment in reader.manifest.segments(catalog_dataset.id, with_stats=False)))
            sums.append(sum(one.rows for one in reader.partitions.of(catalog_dataset.id)))
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(20):
            catalog_dataset.build(
                0, catalog_dataset.live(), *(catalog_dataset.sealed(rows=15 - number % 2 * 5) for _ in range(2 + number % 2))
            )
    finally:
        done.set()
        thread.join(DEADLINE)
    writer.close()
    assert set(sums) == {30}


def test_sessions_of_one_content_land_it_once(catalog_dataset: CatalogDataset) -> None:
    file = catalog_dataset.observe("a", "1")
    assert file.source_partition_id is not None
    partition = SourcePartition(id=file.source_partition_id, source_id=catalog_dataset.source.id, name="1")
    batches = [catalog_dataset.file_batch(file, partition, catalog_dataset.segment()) for _ in range(6)]
    outcomes: list[str] = []

    def land(index: int) -> None:
        try:
            catalog_dataset.catalog.commits.land(batches[index])
            outcomes.append("landed")
        except ConflictError:
            outcomes.append("conflict")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(land, range(6), timeout=DEADLINE))
    assert sorted(outcomes) == ["conflict"] * 5 + ["landed"]
    assert catalog_dataset.rows() == catalog_dataset.counters().read == 10


def open_and_register(url: str) -> None:
    catalog = Catalog.open(url)
    catalog.datasets.register(WEATHER, actor="test")
    catalog.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_fresh_database_may_be_opened_by_many_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "sqlite":
        open_by_many(sqlite_url(tmp_path / "new" / "catalog.sqlite"))
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with fresh_database(server) as url:
        open_by_many(url)


def open_by_many(url: str) -> None:
    processes = [SPAWN.Process(target=open_and_register, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    catalog = Catalog.open(url)
    assert [record.name for record in catalog.datasets.all()] == ["weather"]
    assert len(catalog.audit.newest()) == 1
    catalog.close()


def test_a_killed_writer_leaves_whole_commits_only(sqlite_catalog_url: str) -> None:
    catalog = Catalog.open(sqlite_catalog_url)
    record = catalog.datasets.register(WEATHER, actor="test")
    for wanted in (3, 9, 17):
        process = SPAWN.Process(target=land_many, args=(sqlite_catalog_url, f"writer-{wanted}", 10_000))
        process.start()
        deadline = time.monotonic() + DEADLINE
        while catalog.manifest.version(record.id) < wanted:
            assert time.monotonic() < deadline
            assert process.exitcode is None
        process.kill()
        process.join(DEADLINE)
    check_whole(catalog, catalog.manifest.version(record.id))
    assert catalog.objects.collect_intents(older_than=timedelta(0)) == []
    catalog.close()


def test_a_forked_process_opens_connections_of_its_own(sqlite_catalog_url: str) -> None:
    script = f"""
import os, sys
from timestore_assets.catalog.catalog import Catalog
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
catalog = Catalog.open({sqlite_catalog_url!r})
ground = CatalogDataset.of(catalog)
ground.land("parent")
child = os.fork()
if not child:
    CatalogDataset.of(catalog).land("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ground.land("parent")
print(ground.rows(), catalog.manifest.version(ground.id))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stdout.split(), done.returncode) == (["30", "3"], 0), done.stderr
