"""Running the `timestore` command with a home of its own: in a process of its own, or quicker in this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TIMESTORE_", "DAGSTER_", "COLUMNS", "LINES"))
        }
        root = Path(__file__).parents[2]
        path = f"{bin_folder}{os.pathsep}{kept.get('PATH', '')}"
        self.environment = {**kept, "TIMESTORE_HOME": str(self.home), "PATH": path, "PYTHONPATH": str(root)}

    def run(self, *arguments: str, timeout: float = TIMEOUT, **more: str) -> Result:
        """Run `timestore` with these arguments; `more` are environment variables."""
        return self._run([str(self.folder / "bin" / "timestore"), *arguments], more, timeout)

    def inside(self, *arguments: str, **more: str) -> Result:
        """Run `timestore` in this process, which spares seconds of imports; `more` are environment variables."""
        from timestore_assets.cli.main import run

        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        changed = patch.dict(os.environ, {**self.environment, **more}, clear=True)
        with changed, contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
        out.seek(0)
        return Result(code, out.read(), err.getvalue())

    def shell(self, command: str, **more: str) -> Result:
        """Run a line of shell, as a person who pastes it."""
        return self._run(["sh", "-c", command], more, TIMEOUT)

    def _run(self, command: list[str], more: dict[str, str], timeout: float) -> Result:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)
