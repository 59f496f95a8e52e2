"""Printing: JSON for scripts, tables and readable numbers for people (26,115 rows, 7.9 MB, 2 min 5 s).

Progress and notes go to stderr so that stdout can be piped.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from timestore_assets.catalog.commit_values import SchemaChange
    from timestore_assets.model.counters import Counters


NOTHING = "–"
"""What a table shows where there is no value."""


def count(number: int | None) -> str:
    """A whole number with thousands separators."""
    return NOTHING if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 partition, 12 partitions."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(byte_count: int | None) -> str:
    """Bytes in decimal units, about three digits."""
    if byte_count is None:
        return NOTHING
    value = float(byte_count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def counter_rows(counters: Counters, *, seldom: Collection[str]) -> list[list[str]]:
    """What became of records, a row for each counter; those in `seldom` only when there is something in them."""
    labels = {"late_dropped": "late, dropped", "dead_letters": "dead letters"}
    return [[labels.get(name, name), count(number)] for name, number in counters.items() if number or name not in seldom]


def print_schema_changes(changes: Iterable[SchemaChange]) -> None:
    """A line for each column that came or was widened."""
    for change in changes:
        before = f"widened from {change.before} to" if change.before else "is new, as"
        stdout().print(f"column {change.column} {before} {change.after}", markup=False)


def print_reasons(title: str, reasons: Iterable[tuple[str, int]], *, look: str) -> None:
    """Records by reason code, and the command that shows them."""
    print_table([title, ">records"], ([code, count(number)] for code, number in reasons))
    stdout().print(f"Look at them: {look}", markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time with the precision its size deserves."""
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rate(rows_per_second: float | None) -> str:
    """Rows per second, three significant digits."""
    if rows_per_second is None:
        return NOTHING
    if 0 < rows_per_second < 0.5:
        return "< 1 row/s"
    whole = round(rows_per_second)
    return f"{round(whole, 3 - len(str(whole))) if whole >= 1000 else whole:,} rows/s"


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
    from timestore_assets.model.schema import to_plain

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
