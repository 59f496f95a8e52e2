"""An answer for people: a table or records, sparklines of buckets of time, and a line that says what it is from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from timestore_assets.cli.rendering.answer_table import record_lines, table_lines
from timestore_assets.cli.rendering.paging import page
from timestore_assets.cli.rendering.sparkline import Trend, Trends
from timestore_assets.querying.answer import Answer

SHOWN_ROWS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Display:
    """How an answer is shown. `rows`: at most so many. `expanded`: as records; None where a single row is too wide else.
    `paged`: through a pager where it is longer than the terminal. `descending`: the latest buckets come first.
    `all_rows`, `all_columns`: what a person types there for those that are not shown; the first is followed by a number.
    """

    rows: int = SHOWN_ROWS
    expanded: bool | None = None
    paged: bool = False
    descending: bool = False
    all_rows: str = "--limit"
    all_columns: str = "-x"


def show(answer: Answer, console: Console, display: Display | None = None, *, said: Callable[[], Sequence[str]] = tuple) -> int:
    """Print an answer; `said`: more for its last line, once all is read. Returns the number of rows that it has.

    All rows are read, for the count and the sparklines, but not kept. What goes to no terminal has all its columns whole.
    """
    display = display or Display()
    width = console.width if console.is_terminal else None
    head: list[pa.RecordBatch] = []
    trends = Trends(answer.schema, answer.series, is_reversed=display.descending)
    total = kept = 0
    for batch in answer.batches():
        if kept < display.rows:
            head.append(batch.slice(0, display.rows - kept))
            kept += head[-1].num_rows
        trends.add(batch)
        total += batch.num_rows
    rows = pa.Table.from_batches(head, schema=answer.schema)
    lines, left_out = _rows(rows, display, width)
    lines += _trend_lines(trends, width)
    lines.append(Text(_footer(answer, display, total, kept, left_out, said()), style="dim"))
    _print(lines, console, is_paged=display.paged and console.is_terminal)
    return total


def _rows(rows: pa.Table, display: Display, width: int | None) -> tuple[list[Text], int]:
    """Lines of the rows, and how many columns are not in them."""
    if display.expanded:
        return record_lines(rows, width=width), 0
    table = table_lines(rows, width=width)
    left_out = rows.num_columns - table.columns
    if left_out and rows.num_rows == 1 and display.expanded is None:
        return record_lines(rows, width=width), 0
    return list(table.lines), left_out


_ENDS = 5
"""Cells around a sparkline: blanks, and what separates the lowest value from the highest."""


def _trend_lines(trends: Trends, width: int | None) -> list[Text]:
    found = trends.lines()
    if not found:
        return []
    label = max(len(one.label) for one in found)
    ends = max(len(one.low) + len(one.high) for one in found)
    if width is not None:
        found = trends.lines(width=min(60, max(10, width - label - ends - _ENDS - 1)))
    longest = max(len(one.line) for one in found)
    lines = [_trend_line(one, label, longest) for one in found]
    if span := trends.span():
        lines.append(Text(f"{'':<{label}}  {' to '.join(span)}", style="dim"))
    return [Text(""), *lines]


def _trend_line(one: Trend, label: int, longest: int) -> Text:
    return Text.assemble(
        (f"{one.label:<{label}}  ", "bold"), (f"{one.line:<{longest}}", "cyan"), (f"  {one.low} … {one.high}", "dim")
    )


def _footer(answer: Answer, display: Display, total: int, shown: int, left_out: int, said: Sequence[str]) -> str:
    count = f"{total:,} row{'' if total == 1 else 's'}"
    parts = [count if shown == total else f"{shown:,} of {count} shown; {display.all_rows} {total} shows all"]
    if left_out:
        columns = len(answer.schema)
        parts.append(f"{columns - left_out} of {columns} columns shown; {display.all_columns} shows all")
    parts += [f"{name} version {version}" for name, version in answer.manifest_versions.items()]
    segments = answer.segments_read
    if answer.manifest_versions:
        pruned = answer.scanned + answer.pruned - segments
        parts.append(f"{segments:,} {'segment' if segments == 1 else 'segments'} read, {pruned:,} left out")
    return " · ".join([*parts, *said])


def _print(lines: Sequence[Text], console: Console, *, is_paged: bool) -> None:
    if is_paged and len(lines) >= console.height:
        with console.capture() as capture:
            _write(lines, console)
        if page(capture.get()):
            return
    _write(lines, console)


def _write(lines: Sequence[Text], console: Console) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
