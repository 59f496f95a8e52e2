"""What commands share when they open the warehouse."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


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
