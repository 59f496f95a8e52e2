"""What a person sees whose catalog is the wrong one, and how they go on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from timestore_assets_tests.support.command_line import CommandLine

DECLARED = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {at: timestamp, value: double}
  time: at
  start: 2024-01-01
"""


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A warehouse with one landed file of three days."""
    made = CommandLine(tmp_path)
    folder = made.home / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARED)
    write(tmp_path / "a.csv", month=1)
    assert made.inside("land", "readings", "a.csv", "--json").json["landed"] == 3
    return made


def write(path: Path, *, month: int) -> None:
    path.write_text("at,value\n" + "".join(f"2024-{month:02}-0{day}T00:00:00Z,{day}\n" for day in (1, 2, 3)))


def segments(line: CommandLine) -> set[Path]:
    return set((line.home / "data").rglob("*.parquet")) - set((line.home / "data" / ".staging").rglob("*"))


def grow_old(line: CommandLine) -> None:
    hours_ago = time.time() - 7200
    for path in segments(line):
        os.utime(path, (hours_ago, hours_ago))


def test_a_mistyped_address_of_the_catalog_does_no_harm(line: CommandLine, tmp_path: Path) -> None:
    grow_old(line)
    kept = segments(line)
    right = dict(line.environment)
    line.environment["TIMESTORE_DATABASE_URL"] = f"sqlite:///{tmp_path}/typo.sqlite"
    for command in (("gc",), ("land", "readings", "a.csv"), ("verify", "readings")):
        refused = line.inside(*command)
        assert (refused.code, refused.out) == (3, "")
        assert "belongs to warehouse" in refused.err
        assert "timestore storage adopt default" in refused.err
    assert segments(line) == kept
    line.environment.clear()
    line.environment.update(right)
    assert line.inside("verify", "readings").code == 0
    assert line.inside("gc").code == 0
    assert [row["belongs_to"] for row in line.inside("storage", "list", "--json").json] == ["this warehouse"]


def test_a_restored_catalog_goes_on_when_it_is_told_to(line: CommandLine, tmp_path: Path) -> None:
    catalog = line.home / "catalog.sqlite"
    with closing(sqlite3.connect(catalog)) as source:
        source.execute("VACUUM INTO ?", [str(tmp_path / "backup.sqlite")])
    write(tmp_path / "b.csv", month=2)
    assert line.inside("land", "readings", "b.csv").code == 0
    for path in line.home.glob("catalog.sqlite*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.sqlite", catalog)
    grow_old(line)
    kept = segments(line)
    for command in (("gc",), ("land", "readings", "b.csv"), ("build", "readings")):
        refused = line.inside(*command)
        assert refused.code == 3
        assert "is older than what lies in storage target default" in refused.err
    adopted = line.inside("storage", "adopt", "default")
    assert (adopted.code, "3 unknown ones" in adopted.out) == (0, True)
    collected = line.inside("gc", "--json")
    assert collected.json["withheld"][0]["reason"] == "younger"
    assert "3 unknown files" in collected.err
    assert segments(line) == kept
    assert line.inside("land", "readings", "b.csv", "--json").json["landed"] == 3
    assert line.inside("gc", "--delete-orphans", "default", "--json").json["orphaned_files"] == 3
    assert line.inside("verify", "readings").code == 0
    assert line.inside("query", "readings", "--agg", "count", "--format", "json").json == [{"count": 6}]


def test_a_target_that_there_is_not_can_neither_be_adopted_nor_emptied(line: CommandLine) -> None:
    assert line.inside("storage", "adopt", "archive").code == 2
    assert line.inside("gc", "--delete-orphans", "archive").code == 2
