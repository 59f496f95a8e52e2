"""What commands share when they open the warehouse: the warehouse itself, who acts, and how this command is called here.

The commands that we tell people to type have to work when they paste them.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


def timestore(*arguments: str) -> str:
    """A command line for a shell: `timestore land weather data.csv`, with the script's path when it is not on PATH."""
    return " ".join((_script(), *map(shlex.quote, arguments)))


def _script() -> str:
    if shutil.which("timestore"):
        return "timestore"
    script = Path(sys.executable).parent / "timestore"
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m timestore_assets.cli"
    relative = os.path.relpath(script)
    return shlex.quote(str(script) if relative.startswith("..") else relative)


@contextmanager
def open_warehouse() -> Iterator[Warehouse]:
    """The warehouse of the current settings, closed at exit; imported only now, because it brings DuckDB and SQLAlchemy."""
    from timestore_assets.warehouse import Warehouse

    with Warehouse.open() as warehouse:
        yield warehouse


def actor() -> str:
    """Who the audit log says did it."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container user without a passwd entry
        return "cli"
