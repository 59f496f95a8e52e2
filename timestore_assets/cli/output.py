"""Printing: JSON for scripts, tables for people; progress and notes go to stderr so that stdout can be piped."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 250
"""Columns of a table that goes to a file or pipe, where nothing may be cut off."""


def stdout() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else PIPED_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """Write a value as JSON: frozen values as objects, times in RFC 3339, NaN and infinities as null."""
    from timestore_assets.model.definition import to_plain

    json.dump(_finite(to_plain(value)), sys.stdout, ensure_ascii=False, indent=2, default=str, allow_nan=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", total: Sequence[str] = ()) -> None:
    """Print a table; see `make_table`."""
    stdout().print(make_table(columns, rows, title=title, total=total))


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", total: Sequence[str] = ()) -> Table:
    """A table for people.

    Args:
        columns: headings; one that starts with `>` is right-aligned, one that starts with `~` folds where room is short.
        total: a closing row.
    """
    from rich import box
    from rich.table import Table

    names = [name.lstrip(">~") for name in columns]
    shape = box.SIMPLE_HEAD if any(names) else box.SIMPLE
    table = Table(box=shape, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    table.show_header, table.show_footer = any(names), bool(total)
    for i, name in enumerate(columns):
        table.add_column(
            names[i],
            footer=total[i] if total else "",
            justify="right" if name.startswith(">") else "left",
            no_wrap=not name.startswith("~"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(escaped, row))
    return table


def without_empty(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, nothing: Collection[str]
) -> tuple[list[str], list[list[str]]]:
    """The same table without the columns in which every cell is one of `nothing`, to fit a terminal."""
    kept = [list(row) for row in rows]
    used = [i for i in range(len(columns)) if any(row[i] not in nothing for row in kept)]
    return [columns[i] for i in used], [[row[i] for i in used] for row in kept]


def escaped(text: str) -> str:
    """Text in which square brackets are just brackets."""
    from rich.markup import escape

    return escape(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
