"""The wheel without its checkout: built, installed where only its requirements are, and used in an empty folder.

The requirements are those of the environment of the tests, so nothing is downloaded; `make wheel` does that.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
START_SECONDS = 240
ROWS = "at,sensor,celsius\n2024-03-01T00:00:00Z,kitchen,19.5\n2024-03-01T00:10:00Z,cellar,11.2\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(START_SECONDS + 360)]


def run(command: Sequence[str | Path], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Installed:
    """`folder`: an empty one, to work in."""

    folder: Path
    scripts: Path
    environment: dict[str, str]

    def does(self, *arguments: str) -> str:
        return run([self.scripts / arguments[0], *arguments[1:]], self.folder, self.environment)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with sdist and wheel."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    venv, home, empty = folder / "venv", folder / "home", folder / "empty"
    for made in (home, empty):
        made.mkdir()
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)], folder)
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    run([*pip, "install", "--no-deps", "--no-index", "--quiet", str(wheel)], folder)
    (packages,) = venv.glob("lib/python*/site-packages")
    # a folder that a .pth names is searched, but the .pth files in it are not read: the editable install stays out of sight
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in ("dagster", "dagster-daemon", "dagster-webserver"):
        script = re.sub(r"^#!.*", f"#!{venv / 'bin' / 'python'}", (SCRIPTS / name).read_text(), count=1)
        (venv / "bin" / name).write_text(script)
        (venv / "bin" / name).chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{venv / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "LANG": "C.UTF-8"}
    ready = Installed(folder=empty, scripts=venv / "bin", environment=environment)
    where = run([venv / "bin" / "python", "-c", "import timestore_assets; print(timestore_assets.__file__)"], empty, environment)
    assert Path(where.strip()).is_relative_to(packages)
    return ready


def test_the_sdist_holds_what_the_wheel_is_made_of_and_nothing_that_lies_about(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in there}
    assert tops <= {
        "benchmarks", "deploy", "docs", "scripts", "timestore_assets", "timestore_assets_tests",
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md", "pyproject.toml", "requirements.lock",
        ".gitignore", "zensical.toml",
    }  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {name for name in packed if ".dist-info/" not in name} == {n for n in there if n.startswith("timestore_assets/")}
    kept = run(["git", "ls-files", "timestore_assets"], ROOT).split() if (ROOT / ".git").exists() else []
    assert set(kept) <= packed


def test_a_file_is_proposed_landed_and_asked_in_an_empty_folder(installed: Installed) -> None:
    assert re.fullmatch(r"timestore \d+\.\d+\.\d+\n", installed.does("timestore", "--version"))
    assert "No dataset is declared" in installed.does("timestore", "status")
    (installed.folder / "readings.csv").write_text(ROWS)
    installed.does("timestore", "init", "readings.csv", "--yes")
    installed.does("timestore", "land", "readings", "readings.csv")
    assert "19.5" in installed.does("timestore", "query", "readings", "--format", "csv")
    assert "Validation successful" in installed.does("dagster", "definitions", "validate", "-m", "timestore_assets.definitions")
    assert {path.name for path in installed.folder.iterdir()} <= {"readings.csv", ".timestore", "logs"}


def test_dev_answers_from_any_folder(installed: Installed) -> None:
    ui, http = free_port(), free_port()
    command = [installed.scripts / "timestore", "dev", "--port", str(ui), "--http-port", str(http)]
    log = installed.folder.parent / "dev.log"
    before = {path.name for path in installed.folder.iterdir()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=installed.folder, env=installed.environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            for address in (f"http://127.0.0.1:{ui}/server_info", f"http://127.0.0.1:{http}/datasets"):
                limit = time.monotonic() + START_SECONDS
                while not answers(address):
                    assert process.poll() is None and time.monotonic() < limit, f"{address}: {log.read_text()[-3000:]}"
                    time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.wait(90) == 130
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
    assert "Loaded into Dagster: every declared dataset" in log.read_text()
    assert {path.name for path in installed.folder.iterdir()} - before <= {".timestore"}


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
