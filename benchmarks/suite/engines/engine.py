"""What every engine does: load a file, make ready for questions, answer them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from benchmarks.suite.cpu_queries import CpuQuery

FileKind = Literal["parquet", "csv"]
Window = Literal["day", "hour"]
MEMORY_BYTES = 1_000_000_000
"""What engines that can be told may use."""


class NotOfferedError(Exception):
    """The engine can't do what was asked; the text says why."""


class Engine(Protocol):
    """One engine over a folder of its own; `made` in a fresh process."""

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        """Take in a file, durably as far as the engine is made for that, and give the number of its rows."""
        ...

    def settle(self) -> None:
        """Sort or merge what was loaded, as one would before asking a lot."""
        ...

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        """Answer; `note` makes the text new where the engine keeps what it knows by its text."""
        ...

    def version(self) -> str: ...

    def cpu(self) -> float:
        """Seconds of processor time so far, of whatever works for this engine."""
        ...

    def close(self) -> None: ...


class InProcess:
    """What engines that work in this process have in common."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def settle(self) -> None:
        """Nothing to do."""

    def cpu(self) -> float:
        return time.process_time()

    def close(self) -> None:
        """Nothing to close."""
