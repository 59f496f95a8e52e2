"""The demo's code location in a process of its own: a daemon that starts it by itself does so anew each minute."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, socket
from tempfile import TemporaryDirectory

from timestore_assets.cli.dagster_processes import Child, dagster_command, running
from timestore_assets.cli.dagster_workspace import PACKAGED_LOCATION
from timestore_assets.model.errors import UnavailableError

_DEFINITIONS = "timestore_assets.definitions"
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeServer:
    """`arguments`: of Dagster's daemon, which say where it is."""

    arguments: tuple[str, ...]
    process: Child
    address: Path

    def wait(self, seconds: float) -> None:
        """Wait until it answers.

        Raises:
            UnavailableError: it ended, or does not answer in time.
        """
        until = time.monotonic() + seconds
        while not self._answers():
            if self.process.exit_code is not None or time.monotonic() > until:
                raise UnavailableError(f"Dagster's code server does not start; its last lines:\n{self.process.log_tail()}")
            time.sleep(_LOOK_SECONDS)

    def _answers(self) -> bool:
        with socket(AF_UNIX) as client:
            try:
                client.connect(str(self.address))
            except OSError:
                return False
        return True


@contextmanager
def code_server(*, environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[CodeServer]:
    """While entered, it runs, on a socket that only this user can reach; it is started and not waited for."""
    with TemporaryDirectory(prefix="timestore-") as private:
        address, workspace = Path(private) / "socket", Path(private) / "workspace.yaml"
        location = f"{{socket: '{address}', host: localhost, location_name: {PACKAGED_LOCATION}}}"
        workspace.write_text(f"load_from:\n  - grpc_server: {location}\n", encoding="utf-8")
        command = dagster_command("dagster", "api", "grpc", "-m", _DEFINITIONS, "--socket", str(address))
        process = Child("code server", command, environment=environment, folder=folder, log=log)
        with running(process):
            yield CodeServer(arguments=("-w", str(workspace)), process=process, address=address)
