"""Killed in the middle, collecting and promoting leave nothing behind that the next collection doesn't find."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.upkeep.collect import collect
from timestore_assets.upkeep.verify import verify
from timestore_assets_tests.support.segment_store import segment_store
from timestore_assets_tests.support.upkeep_warehouse import UpkeepWarehouse

NOW = timedelta(0)
SEGMENTS = 12

COLLECT = """
import sys
from datetime import timedelta
from pathlib import Path
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import collect

class Slow(LocalStore):
    def delete(self, names):
        for name in names:
            print("deleting", flush=True)
            sys.stdin.readline()
            super().delete([name])

root = Path(sys.argv[1])
store = Slow(root, staging_root=root / ".staging")
store.staging("left")
collect(Catalog.open(sys.argv[2]), Storage.of(store), intent_grace=timedelta(0), keep_versions=timedelta(0))
"""

PROMOTE = """
import sys
from datetime import timedelta
from pathlib import Path
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload

root = Path(sys.argv[1])
store = LocalStore(root, staging_root=root / ".staging")
catalog = Catalog.open(sys.argv[2])
session = catalog.sessions.begin(1, "landing", holder="doomed", ttl=timedelta(0))
names = [f"weather/doomed/{i}/segment.parquet" for i in range(12)]
catalog.sessions.announce(session, names)
folder = store.staging("doomed")
for i, name in enumerate(names):
    (folder / str(i)).write_bytes(b"x" * 1000)
    print("promoting", flush=True)
    sys.stdin.readline()
    store.promote([Upload(staged=folder / str(i), name=name)])
"""


@pytest.fixture
def warehouse(tmp_path: Path, sqlite_catalog_url: str) -> Iterator[UpkeepWarehouse]:
    catalog = Catalog.open(sqlite_catalog_url)
    with segment_store(tmp_path) as storage:
        yield UpkeepWarehouse(catalog, storage)
    catalog.close()


def run_until(warehouse: UpkeepWarehouse, url: str, program: str, *, steps: int) -> int:
    """Run a program that waits at each of its steps, and kill it at the last of so many; returns its exit status."""
    command = [sys.executable, "-c", program, str(warehouse.written.root), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(steps):
            assert process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.send_signal(signal.SIGKILL)
        return process.wait(30)


@pytest.mark.parametrize("steps", [1, 2, SEGMENTS])
def test_a_killed_collection_is_finished_by_the_next(warehouse: UpkeepWarehouse, sqlite_catalog_url: str, steps: int) -> None:
    for seed in range(SEGMENTS):
        warehouse.land(0, 5, seed=seed)
    sealed = warehouse.seal(0)
    kept = warehouse.land(1, 5)
    warehouse.catalog.sessions.end(warehouse.ground.session)
    assert run_until(warehouse, sqlite_catalog_url, COLLECT, steps=steps) == -signal.SIGKILL
    assert {sealed.name, kept.name} <= set(warehouse.names())
    assert len(warehouse.names()) >= SEGMENTS + 2 - steps
    assert_clean_after_collection(warehouse, [sealed.name, kept.name])


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_what_a_killed_session_promoted_is_collected(warehouse: UpkeepWarehouse, sqlite_catalog_url: str, steps: int) -> None:
    kept = warehouse.land(0, 5)
    assert run_until(warehouse, sqlite_catalog_url, PROMOTE, steps=steps) == -signal.SIGKILL
    assert set(warehouse.names()) - {kept.name} <= {f"weather/doomed/{i}/segment.parquet" for i in range(steps)}
    assert_clean_after_collection(warehouse, [kept.name])


def assert_clean_after_collection(warehouse: UpkeepWarehouse, names: list[str]) -> None:
    record = warehouse.catalog.datasets.find("weather")
    assert record is not None
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, record).ok
    report = collect(warehouse.catalog, warehouse.storage, intent_grace=NOW, keep_versions=NOW)
    assert report.staging_folders == 1
    assert warehouse.names() == sorted(names)
    assert collect(warehouse.catalog, warehouse.storage, intent_grace=NOW, keep_versions=NOW).orphaned_files == 0
    assert verify(warehouse.catalog, warehouse.storage, warehouse.limits, record).orphans == ()
