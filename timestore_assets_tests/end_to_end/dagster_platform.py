"""Dagster as a person runs it, webserver and daemon and code server, in a home of its own and stopped whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg

from timestore_assets.cli.dagster_workspace import packaged_workspace
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

PROJECT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class Platform:
    """`home`: its TIMESTORE_HOME. `port`: of the webserver."""

    home: Path
    port: int
    log: Path

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, threads=1)

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        with Warehouse.open(self.settings) as warehouse:
            yield warehouse

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            yield instance

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """One GraphQL request, as the UI sends it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        assert "errors" not in answer, answer["errors"]
        found: dict[str, Any] = answer["data"]
        return found

    def backfill(self, asset: str, keys: list[str]) -> str:
        """Launch a backfill the way the partitions dialog does; returns its id."""
        parameters = {"assetSelection": [{"path": [asset]}], "partitionNames": keys, "fromFailure": False, "tags": []}
        found = self.ask(_LAUNCH, backfillParams=parameters)["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        return str(found["backfillId"])

    def backfill_status(self, backfill: str) -> str:
        return str(self.ask(_STATUS, id=backfill)["partitionBackfillOrError"]["status"])

    def wait(self, seconds: float, what: str, look: Callable[[], T]) -> T:
        """Look until there is something; fails with the last lines of the log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(0.5)
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
        raise AssertionError(f"{what}: not within {seconds:.0f} s\n" + "\n".join(lines))


@contextmanager
def platform(home: Path, environment: Mapping[str, str]) -> Iterator[Platform]:
    """Start it all and wait for the webserver; at the end the whole process group is gone."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True)
    workspace = packaged_workspace(home)
    (dagster_home / "dagster.yaml").write_text(workspace.settings.read_text(encoding="utf-8"), encoding="utf-8")
    port, log = _free_port(), home / "dagster.log"
    given = {**os.environ, "TIMESTORE_HOME": str(home), "DAGSTER_HOME": str(dagster_home), "DO_NOT_TRACK": "1", **environment}
    command = [
        Path(sys.executable).parent / "dagster",
        "dev",
        *workspace.arguments,
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=given, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)
    try:
        made = Platform(home=home, port=port, log=log)
        made.wait(120, "the webserver answers", lambda: _answers(made))
        yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(made: Platform) -> bool:
    try:
        return made.ask("{ version }")["version"] is not None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_LAUNCH = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""
_STATUS = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill { status } ... on PythonError { message } }
}
"""
