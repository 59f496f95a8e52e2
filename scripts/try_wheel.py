"""Builds wheel and sdist, installs the wheel with all extras into an empty environment, and tries it in an empty folder.

`make wheel`. The index is the one that pip is configured for; nothing else of this environment is visible in there. Says how
long each step took, what it printed and what the packages weigh. Everything is made below a temporary folder, which is named
at the end and kept.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = "at,sensor,celsius\n2024-03-01T00:00:00Z,kitchen,19.5\n2024-03-01T00:10:00Z,cellar,11.2\n"
KEPT = ("PIP_", "SSL_", "REQUESTS_", "http", "HTTP", "no_proxy", "NO_PROXY")
"""What of the environment says how pip reaches its index."""
START_SECONDS = 300
PROJECT = {
    "pyproject.toml": """\
[project]
name = "my_project"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "my_project"
""",
    "src/my_project/__init__.py": "",
    "src/my_project/defs/__init__.py": "",
    "src/my_project/definitions.py": """\
from pathlib import Path

import dagster as dg

import timestore_assets


@dg.definitions
def defs() -> dg.Definitions:
    return timestore_assets.defs(dg.load_from_defs_folder(path_within_project=Path(__file__).parent))
""",
}
"""What `create-dagster` makes, with the one line of `docs/python.md`."""
OLDEST_TYPER = "typer==0.25.1"
"""What a project gets whose `dg` is of Dagster 1.13.29; whatever else is chosen here by itself."""


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="timestore-wheel-"))
    empty, home, scripts = folder / "empty", folder / "home", folder / "venv" / "bin"
    for made in (empty, home):
        made.mkdir()
    (empty / "readings.csv").write_text(ROWS)
    environment = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    environment |= {"HOME": str(home), "PATH": f"{scripts}:/usr/bin:/bin", "LANG": "C.UTF-8", "DO_NOT_TRACK": "1"}
    step([sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")], folder=ROOT, environment=dict(os.environ))
    (wheel,) = (folder / "dist").glob("*.whl")
    step([sys.executable, "-m", "venv", str(folder / "venv")], folder=empty, environment=environment)
    for extras, said in (("", "the core"), ("[all]", "with all extras"), ("[demo]", "with the demo")):
        step(["pip", "install", "--quiet", f"{wheel}{extras}"], folder=empty, environment=environment)
        print(f"  {said}: {megabytes(folder / 'venv')} MB of packages", flush=True)
    for command in (
        "timestore --version",
        "timestore init readings.csv --yes",
        "timestore land readings readings.csv",
        "timestore build readings",
        "timestore query readings",
        "dagster definitions validate -m timestore_assets.definitions",
        "dg list components --package timestore_assets",
    ):
        step(shlex.split(command), folder=empty, environment=environment)
    try_servers(empty, environment)
    try_project(folder / "my-project", environment)
    try_oldest_typer(empty, environment)
    print(f"all of it is in {folder}; in the empty folder: {', '.join(sorted(path.name for path in empty.iterdir()))}")
    return 0


def step(command: Sequence[str], *, folder: Path, environment: dict[str, str], ends_with: int = 0) -> None:
    """Run a command to its end and show it; SystemExit when it ends with another code."""
    print(f"$ {shlex.join(command)}", flush=True)
    began = time.monotonic()
    found = next((path for part in environment["PATH"].split(":") if (path := Path(part) / command[0]).exists()), command[0])
    code = subprocess.run([str(found), *command[1:]], cwd=folder, env=environment, check=False).returncode
    print(f"  {time.monotonic() - began:.1f} s", flush=True)
    if code != ends_with:
        raise SystemExit(f"it ended with code {code}")


def try_servers(folder: Path, environment: dict[str, str]) -> None:
    """The service alone, with its page, and `timestore dev`, which has it beside Dagster's UI."""
    http, flight = free_port(), free_port()
    command = ["timestore", "serve", "--port", str(http), "--flight", f"127.0.0.1:{flight}"]
    until_answers(command, [(http, "ready"), (http, ""), (http, "datasets/readings/status")], folder, environment)
    ui, http = free_port(), free_port()
    command = ["timestore", "dev", "--port", str(ui), "--http-port", str(http)]
    until_answers(command, [(ui, "server_info"), (http, "datasets")], folder, environment)


def try_project(root: Path, environment: dict[str, str]) -> None:
    """A Dagster project with the component, from the scaffold to the UI."""
    for name, text in PROJECT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for command in (
        "dg scaffold defs timestore_assets.Dataset meters",
        "dg check yaml",
        "dg check defs",
        "timestore describe meters",
    ):
        step(shlex.split(command), folder=root, environment=environment)
    port = free_port()
    until_answers(["dg", "dev", "--port", str(port)], [(port, "server_info")], root, environment)


def try_oldest_typer(folder: Path, environment: dict[str, str]) -> None:
    """Help and an error of usage, which are what Typer changed."""
    step(["pip", "install", "--quiet", OLDEST_TYPER], folder=folder, environment=environment)
    step(["timestore", "query", "--help"], folder=folder, environment=environment)
    step(["timestore", "query", "--nonsense"], folder=folder, environment=environment, ends_with=2)


def until_answers(
    command: Sequence[str], addresses: Sequence[tuple[int, str]], folder: Path, environment: dict[str, str]
) -> None:
    """Run a command until these ports answer on these paths, and end it by Ctrl-C; SystemExit when one doesn't."""
    print(f"$ {shlex.join(command)}", flush=True)
    began = time.monotonic()
    with running(command, folder, environment) as process:
        for port, path in addresses:
            while not answers(f"http://127.0.0.1:{port}/{path}"):
                if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                    raise SystemExit(f"nothing answers on port {port}")
                time.sleep(0.5)
            print(f"  /{path} answers after {time.monotonic() - began:.1f} s", flush=True)
    print(f"  ended {time.monotonic() - began:.1f} s after its start", flush=True)


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    script = Path(environment["PATH"].split(":")[0]) / command[0]
    process = subprocess.Popen([str(script), *command[1:]], cwd=folder, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:  # an address of this machine's
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def megabytes(venv: Path) -> int:
    """What pip installed, without pip and setuptools themselves, which every environment has."""
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    (packages,) = venv.glob("lib/python*/site-packages")
    counted = (folder for folder in packages.iterdir() if not folder.name.startswith(own))
    files = (path for folder in counted for path in ([folder] if folder.is_file() else folder.rglob("*")) if path.is_file())
    return round(sum(path.stat().st_size for path in files) / 1e6)


if __name__ == "__main__":
    sys.exit(main())
