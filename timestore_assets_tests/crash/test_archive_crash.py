"""A migration that is killed while it archives goes on where it was: each partition once, and nothing beside them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.migrating.archive_place import InTarget
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.settings import Settings
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.migrations import GOVERNANCE, drop

CHILD = Path(__file__).parent.parent / "support" / "archive_child.py"
POWER: dict[str, Any] = {
    "columns": {"at": "timestamp", "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"files": {"prefix": "inbox/power/"}}],
}
MANIFEST: dict[str, Any] = {
    "dataset": "power",
    "governance": GOVERNANCE,
    "operations": [drop("watts", archive=True)],
}


@pytest.mark.slow
@pytest.mark.parametrize("point", ["announced", "promoted", "recorded"])
def test_a_killed_archive_goes_on_and_leaves_nothing_behind(tmp_path: Path, catalog_url: str, point: str) -> None:
    home = tmp_path / "home"
    with Warehouse.open(Settings(home=home, database_url=catalog_url)) as warehouse:
        warehouse.declare("power", POWER, actor="test")
        path = home / "inbox" / "power" / "a.csv"
        path.parent.mkdir(parents=True)
        path.write_text("at,watts\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n")
        assert warehouse.land("power", [path]).counters.landed == 3
        dataset_id = warehouse.resolve("power")[1].id
        assert run(home, catalog_url, point, 2) == -signal.SIGKILL
        written = len(warehouse.catalog.archives.of(dataset_id))
        assert written == (2 if point == "recorded" else 1)
        assert warehouse.catalog.archives.pending(dataset_id), "the version that has the values is held"
        done = warehouse.migrate(manifest_of(MANIFEST), archive_to=InTarget(target="default", format="parquet"), actor="test")
        assert done.is_archived and len(done.archives) == 3 - written
        collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
        known = [one.name for one in warehouse.catalog.archives.of(dataset_id)]
        there = [one.name for one in warehouse.storage.target("default").list("power/archives/")]
        assert sorted(there) == sorted(known) and len(known) == 3
        assert warehouse.verify("power").ok


def run(home: Path, url: str, point: str, last: int) -> int:
    command = [sys.executable, str(CHILD), str(home), url, json.dumps(MANIFEST), "default", point, str(last)]
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parent.parent.parent)}
    done = subprocess.run(command, env=environment, timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode
