"""Running the `timestore` command in a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT = 120


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class CommandLine:
    """A shell in which `timestore` is this checkout's and TIMESTORE_HOME is an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        script = bin_folder / "timestore"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m timestore_assets.cli "$@"\n')
        script.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIMESTORE_", "DAGSTER_", "COLUMNS"))}
        root = Path(__file__).parent.parent
        path = f"{bin_folder}{os.pathsep}{kept.get('PATH', '')}"
        self.environment = {**kept, "TIMESTORE_HOME": str(self.home), "PATH": path, "PYTHONPATH": str(root)}

    def run(self, *arguments: str, **more: str) -> Result:
        """Run `timestore` with these arguments; `more` are environment variables."""
        return self._run([str(self.folder / "bin" / "timestore"), *arguments], more)

    def shell(self, command: str, **more: str) -> Result:
        """Run a line of shell, as a person who pastes it."""
        return self._run(["sh", "-c", command], more)

    def _run(self, command: list[str], more: dict[str, str]) -> Result:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)
