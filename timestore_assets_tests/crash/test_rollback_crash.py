"""A rollback that is killed has happened or has not; every version is whole, and what lands again does so once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.question import Question
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.forked_programs import ForkedPrograms

pytestmark = pytest.mark.slow

POWER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "window": "day",
    "sources": [{"files": {"prefix": "inbox/power/", "on_change": "replace"}}],
}


def test_a_killed_rollback_has_happened_or_not(tmp_path: Path, programs: ForkedPrograms) -> None:
    home = tmp_path / "home"
    with Warehouse.open(Settings(home=home)) as warehouse:
        warehouse.declare("power", POWER, actor="test")
        land(warehouse, "a.csv", "at,watts\n2024-01-01,1\n2024-01-02,2\n")
        first = version(warehouse)
        land(warehouse, "a.csv", "at,watts\n2024-01-01,10\n")
        land(warehouse, "b.csv", "at,watts\n2024-01-02,5\n")
        build(warehouse)
        before, newest = rows(warehouse), version(warehouse)
        for n in (2, 9, 16, 23):
            kill(programs, home, first, n)
            assert version(warehouse) == newest and rows(warehouse) == before, f"killed after statement {n}"
        statements = kill(programs, home, first, 0)
        assert statements > 24, "the steps above are in the middle of it"
        assert version(warehouse) == newest + 1 and rows(warehouse) == before, "builds fell away, landings stay"
        assert rows(warehouse, newest) == before and rows(warehouse, first) == [1.0, 2.0]
        for n in (20, 0):
            kill(programs, home, first, n, "landings")
            assert rows(warehouse) == (before if n else [1.0, 2.0])
        for name, text in (("a.csv", "at,watts\n2024-01-01,10\n"), ("b.csv", "at,watts\n2024-01-02,5\n")):
            assert land(warehouse, name, text) == 1 and land(warehouse, name, text) == 0
        assert rows(warehouse) == before
        build(warehouse)
        assert rows(warehouse) == before and warehouse.verify("power").findings == ()


def land(warehouse: Warehouse, name: str, text: str) -> int:
    path = warehouse.settings.home_folder / "inbox" / "power" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return warehouse.land("power", [path]).counters.landed


def build(warehouse: Warehouse) -> None:
    keys = [found.partition for found in warehouse.partitions("power")]
    assert all(report.state == "sealed" for report in warehouse.build("power", keys, close=True))


def version(warehouse: Warehouse) -> int:
    return warehouse.catalog.manifest.version(warehouse.resolve("power")[1].id)


def rows(warehouse: Warehouse, as_of: int | None = None) -> list[float]:
    with warehouse.ask(Question(dataset="power", as_of=as_of)) as answer:
        return sorted(answer.table()["watts"].to_pylist())


def kill(programs: ForkedPrograms, home: Path, to: int, statement: int, what: str = "rows") -> int:
    """Let a rollback be killed; how many statements it had made by then, if it came to its end."""
    done = programs.run("rollback_child", str(home), "power", str(to), str(statement), what)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stdout or 0)
