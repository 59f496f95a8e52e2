"""A backfill whose process is killed with -9 goes on where it was: no partition is left out, none is rewritten twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.forked_programs import ForkedPrograms

pytestmark = pytest.mark.slow

DAYS = 5


@pytest.fixture
def home(tmp_path: Path) -> Path:
    declared = tmp_path / "home" / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(DECLARATION, encoding="utf-8")
    return tmp_path / "home"


def killed(programs: ForkedPrograms, home: Path, point: str) -> None:
    done = programs.run("backfill_child", str(home), "readings", point)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_it_goes_on_where_it_was_after_each_kill(home: Path, tmp_path: Path, programs: ForkedPrograms) -> None:
    rows = [f"a,2024-01-{day:02d}T06:00:00Z,{day}" for day in range(1, DAYS + 1)]
    (tmp_path / "a.csv").write_text("\n".join(["device,at,value", *rows, ""]))
    with Warehouse.open(Settings(home=home)) as warehouse:
        warehouse.land("readings", [tmp_path / "a.csv"])
        backfill = asked_to_rewrite_all(warehouse.catalog, "readings", policy="auto")
        for rewritten in (2, 4):
            killed(programs, home, "after:build_group:1")
            assert warehouse.backfill(backfill).summary == f"{rewritten} of {DAYS} partitions rewritten"
        assert len(list(warehouse.run_backfills("readings"))) == DAYS - 4
        assert warehouse.backfill(backfill).backfill.state == "done"
        built = Counter(row["details"]["partition"] for row in warehouse.catalog.audit.newest() if row["action"] == "built")
    assert built == {f"2024-01-{day:02d}": 1 for day in range(1, DAYS + 1)}


def test_one_that_was_killed_before_it_could_say_that_it_is_done_is_ended_by_the_next(
    home: Path, tmp_path: Path, programs: ForkedPrograms
) -> None:
    (tmp_path / "a.csv").write_text("device,at,value\na,2024-01-01T06:00:00Z,1\n")
    with Warehouse.open(Settings(home=home)) as warehouse:
        warehouse.land("readings", [tmp_path / "a.csv"])
        backfill = asked_to_rewrite_all(warehouse.catalog, "readings", policy="auto")
        killed(programs, home, "after:build:1")
        found = warehouse.backfill(backfill)
        assert (found.backfill.state, found.progress.left) == ("approved", 0)
        assert list(warehouse.run_backfills("readings")) == []
        assert warehouse.backfill(backfill).backfill.state == "done"
