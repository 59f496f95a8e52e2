"""An answer on a terminal: a table with units, rounded numbers and, for buckets of time, a sparkline of each figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from timestore_assets.model.window import format_time
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.sparkline import Trends

SHOWN_ROWS = 40
_LONGEST_TEXT = 60


def show(answer: Answer, console: Console, *, rows: int = SHOWN_ROWS) -> int:
    """Print at most so many rows, what they are from and how many there are. Returns the number of rows of the answer.

    All rows are read, for the count and the sparklines, but not kept.
    """
    head: list[pa.RecordBatch] = []
    trends = Trends(answer.schema, answer.series)
    total = kept = 0
    for batch in answer.batches():
        if kept < rows:
            head.append(batch.slice(0, rows - kept))
            kept += head[-1].num_rows
        trends.add(batch)
        total += batch.num_rows
    console.print(_table(pa.Table.from_batches(head, schema=answer.schema)))
    for name, line in trends.lines():
        console.print(Text.assemble((f"{name}  ", "bold"), (line, "cyan")), no_wrap=True)
    console.print(_footer(answer, total, kept), style="dim", highlight=False)
    return total


def _footer(answer: Answer, total: int, shown: int) -> str:
    count = f"{total:,} row{'' if total == 1 else 's'}"
    parts = [count if shown == total else f"{shown:,} of {count} shown; --format csv gives all"]
    parts += [f"{name} version {version}" for name, version in answer.manifest_versions.items()]
    read = "segment" if answer.scanned == 1 else "segments"
    return " · ".join([*parts, f"{answer.scanned:,} {read} read, {answer.pruned:,} pruned"])


def _table(rows: pa.Table) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    texts = []
    for name, field in zip(rows.column_names, rows.schema, strict=True):
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        header = Text(name)
        if unit:
            header.append(f"\n{unit}", style="dim not bold")
        table.add_column(header, justify="right" if _is_number(field.type) else "left", overflow="fold")
        texts.append(column_texts(rows.column(name).to_pylist(), field.type))
    for cells in zip(*texts, strict=True):
        table.add_row(*(Text("–", style="dim") if cell is None else Text(cell) for cell in cells))
    return table


def column_texts(values: Sequence[Any], kind: pa.DataType) -> list[str | None]:
    """What a column's cells read, None for null: numbers of a column have the same decimals, midnights no time of day."""
    if pa.types.is_floating(kind):
        return _each(values, _number(values))
    if pa.types.is_decimal(kind):
        return _each(values, lambda value: f"{value:,.{kind.scale}f}")
    if pa.types.is_integer(kind):
        return _each(values, str)
    if pa.types.is_timestamp(kind):
        days = all(
            value is None or (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0) for value in values
        )
        return _each(values, (lambda value: f"{value:%Y-%m-%d}") if days else _moment)
    return _each(values, _text)


def _each(values: Sequence[Any], text: Callable[[Any], str]) -> list[str | None]:
    return [None if value is None else text(value) for value in values]


def _moment(value: datetime) -> str:
    return format_time(value).replace("T", " ").removesuffix("Z")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        text = "0x" + value[: _LONGEST_TEXT // 2].hex()
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = value.isoformat() if isinstance(value, date) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _number(values: Sequence[Any]) -> Callable[[Any], str]:
    """Enough decimals for four significant digits of the largest value, at most six, and none that are zero throughout."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    largest = max((abs(value) for value in finite), default=0.0)
    if largest >= 1e15 or 0 < largest < 1e-4:
        return lambda value: f"{float(value):.4g}"
    wanted = 6 if largest == 0 else min(6, max(0, 3 - math.floor(math.log10(largest))))
    needed = max((_decimals(value, wanted) for value in finite), default=0)
    return lambda value: f"{value:,.{needed}f}" if math.isfinite(value) else str(float(value))


def _decimals(value: float, most: int) -> int:
    return len(f"{value:.{most}f}".rstrip("0").partition(".")[2])


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
