"""`timestore erase` and `verify --repair`: what is asked, said and done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timestore_assets_tests.support.command_warehouse import CommandWarehouse

SUBJECT = "Q7X-SUBJECT"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[CommandWarehouse]:
    made = CommandWarehouse.at(tmp_path, None, None, gc_grace_seconds=0)
    rows = "".join(f"{device},2024-01-0{day}T01:00:00Z,1\n" for day in (1, 2) for device in ("a", SUBJECT))
    made.run("land", "readings", made.here("days.csv", b"device,at,value\n" + rows.encode() + f"{SUBJECT},never,1\n".encode()))
    yield made


def test_a_look_and_an_erasure(warehouse: CommandWarehouse) -> None:
    condition = ("--where", f"device = '{SUBJECT}'")
    looked = warehouse.run("erase", "readings", *condition, "--dry-run")
    assert (looked["dry_run"], [one["rows"] for one in looked["partitions"]], looked["dead_letters"]) == (True, [1, 1], 1)
    asked = warehouse.refused("erase", "readings", *condition)
    assert (asked.code, "say --yes" in asked.err) == (2, True)
    text = warehouse.line.inside("erase", "readings", *condition, "--yes", "--dead-letters").out
    assert "2 rows went in 1 pass" in text
    assert "removed: 1 file of dead letters" in text
    assert "not reached: backups" in text
    assert {row["device"] for row in warehouse.run("query", "readings")} == {"a"}
    files = [path for path in (warehouse.home / "data").rglob("*") if path.is_file()]
    assert not any(SUBJECT.encode() in path.read_bytes() for path in files)
    again = warehouse.line.inside("erase", "readings", *condition, "--yes").out
    assert "no stored row matches" in again


def test_a_condition_that_is_none(warehouse: CommandWarehouse) -> None:
    found = warehouse.refused("erase", "readings", "--where", "nobody = 1", "--yes")
    assert (found.code, "nobody" in found.err) == (2, True)


def test_a_repair_is_said_before_it_is_done(warehouse: CommandWarehouse) -> None:
    warehouse.run("build", "readings")
    stray = warehouse.home / "data" / "readings" / "stray.parquet"
    stray.write_bytes(b"x")
    (looked,) = warehouse.run("verify", "readings", "--repair")
    assert [(one["kind"], one["done"]) for one in looked["repairs"]] == [("orphans", False), ("events", False)]
    assert "nothing was changed" in warehouse.line.inside("verify", "readings", "--repair").out
    (done,) = warehouse.run("verify", "readings", "--repair", "--yes")
    assert (done["ok"], [one["done"] for one in done["repairs"]]) == (True, [True, True])
    assert warehouse.refused("verify", "--yes").code == 2
