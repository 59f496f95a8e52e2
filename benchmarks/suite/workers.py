"""Engines that are asked from here: each a process that reads commands and answers in lines of JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.suite.cpu_queries import CpuQuery
from benchmarks.suite.environments import Environment

ROOT = Path(__file__).parents[2]


class MissingError(Exception):
    """The engine doesn't do this here; the text says why."""


@dataclass(kw_only=True)
class Worker:
    """One engine's process. Its figures come back as it measured them itself."""

    name: str
    folder: Path
    process: subprocess.Popen[str]
    version: str = ""
    seconds: float = 900.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, file: Path, kind: str, window: str = "day") -> dict[str, Any]:
        return self._told({"do": "load", "file": str(file), "kind": kind, "window": window})

    def settle(self) -> dict[str, Any]:
        return self._told({"do": "settle"})

    def ask(self, query: CpuQuery, note: str) -> tuple[dict[str, Any], pa.Table]:
        answer = self.folder / "answer.arrow"
        told = self._told({"do": "ask", "query": query.attributes(), "note": note, "answer": str(answer)})
        with pa.OSFile(str(answer), "rb") as file:
            return told, pa.ipc.open_file(file).read_all()

    def _told(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        told = self.read()
        if "missing" in told:
            raise MissingError(told["missing"])
        if "failed" in told:
            raise MissingError(f"failed: {told['failed']}"[:300])
        return told

    def read(self) -> dict[str, Any]:
        """The next answer; a process that gives none in time is ended."""
        assert self.process.stdout is not None
        watch = threading.Timer(self.seconds, self.process.kill)
        watch.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            log = (self.folder / "log").read_text().strip().splitlines()
            raise MissingError(f"failed: the process ended ({log[-1][:200] if log else 'it said nothing'})")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def worker(
    name: str, environment: Environment, *, within: Path, prefix: tuple[str, ...] = (), **settings: str
) -> Iterator[Worker]:
    """An engine over an empty folder, which is removed again. `prefix`: what goes before its command, as `taskset` does.

    Raises:
        MissingError: it can't be had here, or did not start.
    """
    if environment.missing:
        raise MissingError(environment.missing)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=within))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TIMESTORE_")} | settings
    environ |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "BENCH_SERVER": environment.server or ""}
    command = [*prefix, environment.python, "-m", "benchmarks.suite.engines.worker", name, str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environ, cwd=folder
        )
    try:
        made = Worker(name=name, folder=folder, process=process)
        made.version = made.read()["version"]
        yield made
    finally:
        _ended(process)
        shutil.rmtree(folder, ignore_errors=True)


def _ended(process: subprocess.Popen[str]) -> None:
    """Let it close what it holds; what does not end in time is killed."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=60)
    process.stdout.close()
