"""What is written on this machine is its user's alone, whatever the umask: home, catalog, segments, dead letters, cache, logs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from timestore_assets import file_access
from timestore_assets_tests.support.command_line import CommandLine

DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: weather
  columns: {at: timestamp, station: string, temp: {type: double, le: 100}}
  time: at
  start: 2024-01-01
  sources: [{http: {}}, {files: {prefix: inbox/weather/}}]
  segments: {format: duckdb}
"""
ROWS = "at,station,temp\n2024-01-01T00:00:00Z,JFK,5\n2024-01-01T01:00:00Z,JFK,4711\n2024-01-02T00:00:00Z,LGA,7\n"
LIBRARY = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[1], 8))
from timestore_assets.warehouse import Warehouse
with Warehouse.open() as warehouse:
    warehouse.land("weather", [Path("rows.csv")])
    dataset = warehouse.datasets["weather"]
    list(warehouse.build("weather", [dataset.partition("2024-01-01")], close=True))
"""
UMASKS = [0o000, 0o077]


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    made = CommandLine(tmp_path)
    (tmp_path / "defs" / "weather").mkdir(parents=True)
    (tmp_path / "defs" / "weather" / "defs.yaml").write_text(DECLARATION)
    (tmp_path / "rows.csv").write_text(ROWS)
    made.environment["TIMESTORE_DEFS"] = str(tmp_path / "defs")
    return made


def under(umask: int, shell: CommandLine, *arguments: str) -> None:
    """Run `timestore` with that umask."""
    before = os.umask(umask)
    try:
        done = shell.inside(*arguments)
        assert os.umask(umask) == umask, "a command changed the umask of its process"
    finally:
        os.umask(before)
    assert done.code == 0, done.err


@contextmanager
def running(shell: CommandLine) -> Iterator[Path]:
    """The home of a service that runs."""
    command = ["sh", "-c", "umask 000 && exec timestore serve --port 0 --json"]
    with (
        (shell.folder / "log").open("w") as log,
        subprocess.Popen(
            command, env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            record = {"at": "2024-01-01T00:00:00Z", "station": "JFK", "temp": 4711}
            assert httpx.post(f"{url}/datasets/weather/ingest", json=[record], trust_env=False, timeout=30).status_code == 200
            yield shell.home
        finally:
            process.terminate()


def open_to(home: Path, bits: int) -> list[str]:
    """What is in the home, and the home itself, that has one of the bits."""
    everything = [home, *home.rglob("*")]
    assert len(everything) > 10
    return [str(path.relative_to(home)) for path in everything if not path.is_symlink() and path.stat().st_mode & bits]


@pytest.mark.parametrize("umask", UMASKS)
def test_nothing_that_commands_write_can_be_read_by_others(shell: CommandLine, umask: int) -> None:
    under(umask, shell, "land", "weather", "rows.csv")
    under(umask, shell, "build", "weather")
    under(umask, shell, "init", "rows.csv", "--name", "other", "--yes")
    assert list(shell.home.rglob("*.duckdb")) and list(shell.home.rglob("defs.yaml"))
    assert not open_to(shell.home, 0o077)
    assert stat.S_IMODE((shell.home / "catalog.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", UMASKS)
def test_nor_what_a_program_writes_that_uses_the_package(shell: CommandLine, umask: int) -> None:
    command = [sys.executable, "-c", LIBRARY, f"{umask:o}"]
    done = subprocess.run(
        command, env=shell.environment, cwd=shell.folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not open_to(shell.home, 0o077)


def test_the_log_and_shared_memory_of_an_open_catalog_are_private_too(shell: CommandLine) -> None:
    shell.home.mkdir()
    shell.home.chmod(0o705)
    with running(shell) as home:
        assert {"catalog.sqlite-wal", "catalog.sqlite-shm"} <= {path.name for path in home.iterdir()}
        assert open_to(home, 0o077) == ["."], "only the home that was there is as it was"
    assert "home_is_open" in (shell.folder / "log").read_text() and "chmod 700" in (shell.folder / "log").read_text()


@pytest.mark.parametrize("umask", UMASKS)
def test_a_group_may_read_and_nobody_else_when_the_setting_says_so(shell: CommandLine, umask: int) -> None:
    shell.environment["TIMESTORE_FILE_ACCESS"] = "group"
    under(umask, shell, "land", "weather", "rows.csv")
    assert not open_to(shell.home, 0o027)
    closed = [path for path in (shell.home, *shell.home.rglob("*")) if not path.stat().st_mode & 0o040]
    assert not [path for path in closed if path.is_dir() or path.suffix in (".parquet", ".sqlite")]


def test_the_umask_decides_when_the_setting_says_so(shell: CommandLine) -> None:
    shell.environment["TIMESTORE_FILE_ACCESS"] = "umask"
    under(0o022, shell, "land", "weather", "rows.csv")
    assert stat.S_IMODE(shell.home.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in shell.home.rglob("*.parquet")} == {0o444}


def test_a_home_that_was_there_keeps_its_mode(shell: CommandLine) -> None:
    shell.home.mkdir()
    shell.home.chmod(0o751)
    under(0o022, shell, "land", "weather", "rows.csv")
    assert stat.S_IMODE(shell.home.stat().st_mode) == 0o751
    assert not [found for found in open_to(shell.home, 0o077) if found != "."]


def test_a_file_that_a_person_asks_for_elsewhere_has_the_persons_mode(shell: CommandLine) -> None:
    under(0o022, shell, "init", "rows.csv", "--name", "other", "--defs", "mine", "--yes")
    assert stat.S_IMODE((shell.folder / "mine" / "other" / "defs.yaml").stat().st_mode) == 0o644


def test_a_setting_that_is_none_is_refused(shell: CommandLine) -> None:
    refused = shell.inside("status")
    assert refused.code == 0
    shell.environment["TIMESTORE_FILE_ACCESS"] = "world"
    refused = shell.inside("status")
    assert refused.code == 2 and "TIMESTORE_FILE_ACCESS" in refused.err


def test_folders_that_appear_or_are_in_the_way_meanwhile(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b" / "c"
    file_access.make_folder(made)
    file_access.make_folder(made)
    assert {stat.S_IMODE(one.stat().st_mode) for one in (made, made.parent, made.parent.parent)} == {0o700}
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"exists|directory"):
            file_access.make_folder(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(file_access.make_folder, [made / "new" / "deep"] * 40))
    assert stat.S_IMODE((made / "new" / "deep").stat().st_mode) == 0o700
