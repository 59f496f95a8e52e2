"""Programs that tests kill, each run in a fork of one process that has imported them: begun anew, most of it would be imports."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from timestore_assets_tests.support.forked_orders import answer_orders, orders_to

SUPPORT = Path(__file__).parent
LATER = (
    "pandas",
    "timestore_assets.building.builder",
    "timestore_assets.catalog.open_catalog",
    "timestore_assets.landing.files.lander",
)
"""What programs import when they first use it, and would each in its fork."""


@dataclass(frozen=True)
class ForkedPrograms:
    """`folder`: for what they print."""

    give: Callable[..., str]
    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module of `support` as a program, to its end or its death."""
        out, err = self.folder / "out", self.folder / "err"
        answer = self.give(program=program, arguments=arguments, out=str(out), err=str(err))
        status = answer.removeprefix("failed with status ")
        code = -signal.SIGKILL if answer == "killed" else os.waitstatus_to_exitcode(int(status))
        return subprocess.CompletedProcess([program, *arguments], code, out.read_text(), err.read_text())


@contextmanager
def forked_programs() -> Iterator[ForkedPrograms]:
    with tempfile.TemporaryDirectory() as folder, orders_to("forked_programs") as give:
        yield ForkedPrograms(give=give, folder=Path(folder))


def _import(order: dict[str, Any]) -> None:
    for name in (*LATER, f"timestore_assets_tests.support.{order['program']}"):
        import_module(name)


def _run(order: dict[str, Any]) -> int:
    for place, descriptor in ((order["out"], 1), (order["err"], 2)):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    path = str(SUPPORT / f"{order['program']}.py")
    sys.argv = [path, *order["arguments"]]
    runpy.run_path(path, run_name="__main__")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    answer_orders(_run, prepare=_import)
