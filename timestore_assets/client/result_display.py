"""How an answer looks to a person: a small table in a terminal; in a notebook one with lines of its numbers over time beside it.

The picture is plain SVG without a script, and every text is escaped, since names and values come from wherever data does.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self

LONGEST_CELL = 40
"""Characters."""
SHOWN_COLUMNS = 12
_COLOURS = ("#2f6f9f", "#c4622d", "#4d8a3d")
_WIDTH, _HEIGHT, _EDGE = 420, 120, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The first rows of an answer. `total`: how many there are, None while that is not known."""

    names: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    total: int | None

    @classmethod
    def of(cls, names: Sequence[str], rows: Sequence[Mapping[str, Any]], *, total: int | None) -> Self:
        return cls(names=tuple(names), rows=tuple(rows), total=total)

    @property
    def shown(self) -> tuple[str, ...]:
        return self.names[:SHOWN_COLUMNS]

    def summary(self, shown: int) -> str:
        """One line about what is shown of it."""
        columns = f"{len(self.names)} column{'s' * (len(self.names) != 1)}"
        left = f", {len(self.names) - SHOWN_COLUMNS} of them not shown" if len(self.names) > SHOWN_COLUMNS else ""
        if self.total is None:
            return f"the first {shown:,} rows, {columns}{left}; more are still to be read"
        rows = f"{self.total:,} row{'s' * (self.total != 1)}"
        first = f", the first {shown:,} shown" if shown < self.total else ""
        return f"{rows}{first}, {columns}{left}"


def as_text(head: Head) -> str:
    """A table in plain text."""
    cells = [[_cell(row.get(name)) for name in head.shown] for row in head.rows]
    names = [_short(name) for name in head.shown]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in [names, *cells]]
    rule = ["  ".join("-" * width for width in widths)]
    return "\n".join([*lines[:1], *rule, *lines[1:], head.summary(len(head.rows))])


def as_html(head: Head, *, rows: int) -> str:
    """A table of the first of them, and a picture of all if they have a time and numbers."""
    names = "".join(f"<th>{html.escape(_short(name))}</th>" for name in head.shown)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in head.shown) + "</tr>"
        for row in head.rows[:rows]
    )
    summary = html.escape(head.summary(min(rows, len(head.rows))))
    return f"<div><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>{_picture(head)}<p>{summary}</p></div>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _short(value.isoformat(sep=" ") if isinstance(value, datetime) else str(value))


def _short(text: str) -> str:
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: LONGEST_CELL + 1])
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _picture(head: Head) -> str:
    """Lines of up to three columns of numbers over the first one of times, each in its own range; empty where none can be."""
    time = next((name for name in head.names if _is_all(head, name, (datetime, date))), None)
    numbers = [name for name in head.names if _is_all(head, name, (int, float)) and not _is_all(head, name, (bool,))]
    if time is None or not numbers or len(head.rows) < 2:
        return ""
    lines = "".join(_line(head, time, name, colour) for name, colour in zip(numbers, _COLOURS, strict=False))
    said = ", ".join(
        f'<span style="color:{colour}">{html.escape(_short(name))}</span>'
        for name, colour in zip(numbers, _COLOURS, strict=False)
    )
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    some = "" if head.total == len(head.rows) else f", the first {len(head.rows):,} rows"
    caption = f"<p>{said} by {html.escape(_short(time))}{some}</p>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box}>{lines}</svg>{caption}'


def _is_all(head: Head, name: str, kinds: tuple[type, ...]) -> bool:
    values = [row[name] for row in head.rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, kinds) for value in values)


def _line(head: Head, time: str, name: str, colour: str) -> str:
    points = sorted(_points(head, time, name))
    if not points:
        return ""
    (first, last), (low, high) = (points[0][0], points[-1][0]), (min(y for _, y in points), max(y for _, y in points))
    places = (f"{_scaled(x, first, last, _WIDTH):.1f},{_HEIGHT - _scaled(y, low, high, _HEIGHT):.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(places)}"/>'


def _points(head: Head, time: str, name: str) -> Iterator[tuple[float, float]]:
    for row in head.rows:
        moment, value = row.get(time), row.get(name)
        if moment is not None and value is not None and math.isfinite(value):
            seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment.toordinal())
            yield seconds, float(value)


def _scaled(value: float, low: float, high: float, size: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return _EDGE + share * (size - 2 * _EDGE)
