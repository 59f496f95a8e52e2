"""`drop`, `rename` and `retire` as a person types them, and a `timestore serve` beside which `init` declares a dataset."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from timestore_assets_tests.support.command_line import CommandLine

WAIT_SECONDS = 60.0
STOP_SECONDS = 30.0
ROWS = "at,meter,watts\n2024-01-01T00:00:00Z,kitchen,5.25\n2024-01-02T00:00:00Z,hall,7.5\n"


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    """A home in which `init` has declared `power` and two rows have landed."""
    line = CommandLine(tmp_path)
    (tmp_path / "power.csv").write_text(ROWS)
    for arguments in (("init", "power.csv", "--window", "day", "--yes"), ("land", "power", "power.csv")):
        done = line.inside(*arguments)
        assert done.code == 0, done.err
    return line


def rows(shell: CommandLine, name: str) -> int:
    (found,) = [one for one in shell.inside("status", "--json").json["datasets"] if one["dataset"] == name]
    return int(found["rows"])


def names(shell: CommandLine) -> list[str]:
    return [one["dataset"] for one in shell.inside("datasets", "--json").json]


def objects(shell: CommandLine) -> list[Path]:
    return list((shell.home / "data" / "power").rglob("*.parquet"))


def file_of(shell: CommandLine, name: str) -> Path:
    return shell.home / "defs" / name / "defs.yaml"


def test_a_drop_says_what_goes_and_asks(shell: CommandLine) -> None:
    asked = shell.inside("drop", "power")
    assert (asked.code, "say --yes" in asked.err) == (2, True)
    assert "power has 2 rows in 2 partitions" in asked.out and rows(shell, "power") == 2
    done = shell.inside("drop", "power", "--yes")
    assert done.code == 0 and f"{file_of(shell, 'power')} still declares it" in done.out
    assert "power" not in names(shell)
    late = shell.inside("land", "power", "power.csv")
    assert late.code == 2 and "was dropped at" in late.err and "until it is written again" in late.err
    assert objects(shell)
    assert shell.inside("gc", "--json").json["dropped_objects"] == 2
    assert objects(shell) == []


def test_declared_again_it_begins_empty_and_lands_the_same_file(shell: CommandLine) -> None:
    gone = shell.inside("drop", "power", "--yes", "--remove-file", "--json").json
    assert gone == {
        "dataset": "power", "rows": 2, "bytes": gone["bytes"], "segments": 2, "partitions": 2, "dead_letters": 0, "queries": [],
        "file": None,
    }  # fmt: skip
    assert not file_of(shell, "power").parent.exists()
    assert shell.inside("drop", "power", "--yes").code == 2
    assert shell.inside("init", "power.csv", "--window", "day", "--yes").code == 0
    assert rows(shell, "power") == 0
    assert shell.inside("land", "power", "power.csv").code == 0
    assert rows(shell, "power") == 2


def test_only_files_of_the_home_are_removed(shell: CommandLine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "project" / "power" / "defs.yaml"
    elsewhere.parent.mkdir(parents=True)
    file_of(shell, "power").rename(elsewhere)
    defs = {"TIMESTORE_DEFS": str(tmp_path / "project")}
    gone = shell.inside("drop", "power", "--yes", "--remove-file", "--json", **defs).json
    assert gone["file"] == str(elsewhere) and elsewhere.exists()


def test_one_that_nothing_declares_any_more_can_be_dropped(shell: CommandLine) -> None:
    file_of(shell, "power").unlink()
    done = shell.inside("drop", "power", "--yes")
    assert done.code == 0 and "still declares it" not in done.out
    assert shell.inside("gc", "--json").json["dropped_objects"] == 2


def test_a_rename_takes_the_declaration_along(shell: CommandLine) -> None:
    before = file_of(shell, "power").read_text()
    done = shell.inside("rename", "power", "energy", "--yes")
    assert done.code == 0 and "another asset" in done.out
    assert file_of(shell, "energy").read_text() == before.replace("name: power", "name: energy")
    assert not file_of(shell, "power").parent.exists()
    assert "power" not in names(shell) and rows(shell, "energy") == 2
    assert "inbox/power/" in before, "the folder that is watched stays"
    again = shell.inside("land", "energy", "power.csv", "--json").json
    assert [one["state"] for one in again["files"]] == ["duplicate"]
    assert "is called 'energy' since" in shell.inside("query", "power").err
    # the old name is free
    assert shell.inside("init", "power.csv", "--window", "day", "--yes").code == 0
    assert (rows(shell, "power"), rows(shell, "energy")) == (0, 2)
    taken = shell.inside("rename", "power", "energy", "--yes")
    assert (taken.code, "there is a dataset 'energy' already" in taken.err) == (3, True)
    assert shell.inside("rename", "power", "No Name", "--yes").code == 2


def test_a_file_that_was_left_counts_under_the_new_name_and_is_mended_later(
    shell: CommandLine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "project" / "power" / "defs.yaml"
    elsewhere.parent.mkdir(parents=True)
    file_of(shell, "power").rename(elsewhere)
    defs = {"TIMESTORE_DEFS": str(tmp_path / "project")}
    done = shell.inside("rename", "power", "energy", "--yes", **defs)
    assert done.code == 0 and f"{elsewhere} still has the old name; write `name: energy` there" in done.out
    assert "write `name:" not in caplog.text, "it was just said"
    assert "energy" in {one["dataset"] for one in shell.inside("datasets", "--json", **defs).json}
    assert "write `name: energy` in its file" in caplog.text
    # as after a rename that was killed before it came to the file
    file_of(shell, "power").parent.mkdir(exist_ok=True)
    elsewhere.rename(file_of(shell, "power"))
    assert shell.inside("rename", "power", "energy", "--yes").code == 0
    assert file_of(shell, "energy").exists() and rows(shell, "energy") == 2


def test_nothing_lands_in_a_retired_one(shell: CommandLine) -> None:
    (shell.folder / "more.csv").write_text(ROWS.replace("2024-01-01", "2024-01-05"))
    done = shell.inside("retire", "power")
    assert done.code == 0 and "--undo" in done.out
    refused = shell.inside("land", "power", "more.csv")
    assert (refused.code, "is retired" in refused.err) == (3, True)
    assert "power (retired)" in shell.inside("status").out and "power (retired)" in shell.inside("datasets").out
    assert shell.inside("build", "power").code == 0 and shell.inside("query", "power").code == 0
    assert shell.inside("retire", "power", "--undo", "--json").json == {"dataset": "power", "retired": False, "changed": True}
    assert shell.inside("land", "power", "more.csv").code == 0


def test_what_init_declares_beside_a_service_is_served(shell: CommandLine) -> None:
    command = [str(shell.folder / "bin" / "timestore"), "serve", "--port", "0", "--json"]
    with subprocess.Popen(
        command, env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(WAIT_SECONDS * 2, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                (shell.folder / "wind.csv").write_text(ROWS.replace("meter", "mast"))
                assert client.get("/datasets/wind").status_code == 404
                assert shell.inside("init", "wind.csv", "--yes").code == 0
                path = file_of(shell, "wind")
                path.write_text(path.read_text().replace("sources:", "sources:\n    - http: {}"))
                until(lambda: client.get("/datasets/wind").status_code == 200, "the service did not see what init declared")
                sent = {"records": [{"at": "2024-01-01T00:00:00Z", "mast": "a", "watts": 1}]}
                assert client.post("/datasets/wind/ingest", json=sent).json()["landed"] == 1
                assert shell.inside("land", "wind", "wind.csv").code == 0
                assert client.get("/datasets/wind").json()["rows"] == 3
                assert shell.inside("drop", "wind", "--yes").code == 0
                until(lambda: client.get("/datasets/wind").status_code == 404, "the service did not see the drop")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=STOP_SECONDS)
            timer.cancel()
    assert process.returncode == 0


def until(wanted: Callable[[], bool], what: str) -> None:
    waiting = threading.Event()
    deadline = threading.Timer(WAIT_SECONDS, waiting.set)
    deadline.start()
    try:
        while not wanted():
            assert not waiting.wait(0.1), what
    finally:
        deadline.cancel()
