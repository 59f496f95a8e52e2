"""A migration that is killed, after any statement of its transaction or its commit, has happened whole or not at all."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from timestore_assets.catalog.tables import audit, backfills, dataset_schemas, migrations, outbox
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.forked_programs import ForkedPrograms
from timestore_assets_tests.support.migrations import GOVERNANCE, rename, transform

POWER: dict[str, Any] = {
    "columns": {"at": "timestamp", "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"files": {"prefix": "inbox/power/"}}],
}
MANIFEST: dict[str, Any] = {
    "dataset": "power",
    "governance": GOVERNANCE,
    "operations": [rename("at", "ts"), transform("watts", "watts / 1000")],
}
MOST_STATEMENTS = 100


@pytest.mark.slow
def test_a_killed_migration_has_happened_or_not(tmp_path: Path, catalog_url: str, programs: ForkedPrograms) -> None:
    home = tmp_path / "home"
    with Warehouse.open(Settings(home=home, database_url=catalog_url)) as warehouse:
        warehouse.declare("power", POWER, actor="test")
        path = home / "inbox" / "power" / "a.csv"
        path.parent.mkdir(parents=True)
        path.write_text("at,watts\n2024-01-01,1\n2024-01-02,2\n")
        assert warehouse.land("power", [path]).counters.landed == 2
        before, last = counted(warehouse), 1
        while (code := run(programs, home, catalog_url, last)) == -signal.SIGKILL:
            assert counted(warehouse) == before and shown(warehouse) == ("at", "watts"), last
            last += 4
            assert last < MOST_STATEMENTS
        assert code == 0 and last > 10, "it was killed in the middle of its transaction"
        after = counted(warehouse)
        assert shown(warehouse) == ("ts", "watts")
        assert after == {name: number + 1 for name, number in before.items()}
        assert not warehouse.migrate(manifest_of(MANIFEST), actor="test").done.is_new
        assert counted(warehouse) == after


def test_one_killed_after_its_commit_is_not_done_again(tmp_path: Path, catalog_url: str, programs: ForkedPrograms) -> None:
    home = tmp_path / "home"
    with Warehouse.open(Settings(home=home, database_url=catalog_url)) as warehouse:
        warehouse.declare("power", POWER, actor="test")
        path = home / "inbox" / "power" / "a.csv"
        path.parent.mkdir(parents=True)
        path.write_text("at,watts\n2024-01-01,1\n")
        warehouse.land("power", [path])
        before = counted(warehouse)
        assert run(programs, home, catalog_url, 0) == -signal.SIGKILL
        assert counted(warehouse) == {name: number + 1 for name, number in before.items()}
        assert not warehouse.migrate(manifest_of(MANIFEST), actor="test").done.is_new
        stored = warehouse.catalog.declarations.find("power")
        assert stored is not None and stored.attributes["time"] == "ts"


def run(programs: ForkedPrograms, home: Path, url: str, last: int) -> int:
    done = programs.run("migration_child", str(home), url, json.dumps(MANIFEST), str(last))
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def shown(warehouse: Warehouse) -> tuple[str, ...]:
    found = warehouse.catalog.datasets.find("power")
    assert found is not None
    return found.schema.names


def counted(warehouse: Warehouse) -> dict[str, int]:
    """Rows of the tables in which a migration leaves one each."""
    wanted = {
        "migrations": select(func.count()).select_from(migrations),
        "versions": select(func.count()).select_from(dataset_schemas),
        "backfills": select(func.count()).select_from(backfills),
        "audit": select(func.count()).select_from(audit).where(audit.c.action == "schema_migrated"),
        "events": select(func.count()).select_from(outbox).where(outbox.c.kind == "schema_changed"),
    }
    found = warehouse.catalog.database.read(lambda c: {name: int(c.execute(one).scalar_one()) for name, one in wanted.items()})
    found["manifest"] = warehouse.resolve("power")[1].manifest_version
    return found
