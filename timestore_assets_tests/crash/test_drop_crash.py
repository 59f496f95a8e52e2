"""A drop that is killed, at any step of it or of the collection after it, has happened or has not; landing stays exactly once."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from timestore_assets.settings import Settings
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.forked_programs import ForkedPrograms

POWER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "sources": [{"files": {"prefix": "inbox/power/"}}],
}
FILES = {"a.csv": "at,watts\n2024-01-01,1\n2024-01-02,2\nbad,3\n", "b.csv": "at,watts\n2024-01-03,4\n"}
ROWS = 3
# after the segments were taken out, and after the last statement before COMMIT
STEPS = (
    ("statement", 6, True),
    ("statement", 16, True),
    ("drop", 1, False),
    ("collect_objects", 1, False),
    ("delete", 1, False),
    ("forget", 1, False),
)


def test_a_killed_drop_has_happened_or_not(tmp_path: Path, programs: ForkedPrograms) -> None:
    with Warehouse.open(Settings(home=tmp_path / "home")) as warehouse:
        paths = files_in(tmp_path / "home")
        for step, calls, is_undone in STEPS:
            warehouse.declare("power", POWER, actor="test")
            assert landed(warehouse, paths) == ROWS
            before = warehouse.resolve("power")[1].id
            kill(programs, tmp_path / "home", step, calls, before)
            record = warehouse.catalog.datasets.find("power")
            assert (record is not None) == is_undone, step
            if record is not None:
                assert record.id == before and landed(warehouse, paths) == 0, "all of it is as it was"
                assert rows(warehouse) == ROWS
                warehouse.drop("power", actor="test")
            else:
                warehouse.declare("power", POWER, actor="test")
                assert rows(warehouse) == 0
                assert landed(warehouse, paths) == ROWS and landed(warehouse, paths) == 0
                assert rows(warehouse) == ROWS
                warehouse.drop("power", actor="test")
            finish(warehouse)
            left = [one.name for one in warehouse.storage.target("default").list() if one.name.startswith("power/")]
            assert left == [], step


def files_in(home: Path) -> list[Path]:
    folder = home / "inbox" / "power"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return [folder / name for name in FILES]


def landed(warehouse: Warehouse, paths: list[Path]) -> int:
    return warehouse.land("power", paths).counters.landed


def rows(warehouse: Warehouse) -> int:
    return warehouse.status("power").totals.rows


def finish(warehouse: Warehouse) -> None:
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))
    assert warehouse.catalog.objects.collected() == []
    assert warehouse.catalog.dropped.collect_objects() == [] and warehouse.catalog.dropped.forget() == 0


def kill(programs: ForkedPrograms, home: Path, step: str, calls: int, dataset_id: int) -> None:
    done = programs.run("drop_child", str(home), step, str(calls), str(dataset_id))
    assert done.returncode == -signal.SIGKILL, f"{step} {calls}: {done.stderr}"
