"""Rows of an answer as lines of a table, as many columns as a terminal is wide, or as records with a line for each value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich.cells import cell_len
from rich.text import Text

from timestore_assets.cli.rendering.cell_texts import CUT, LONGEST_NAME, NULL, cell_texts, cut, is_number

_GAP = 2
_SHORTEST_TEXT, _STEP = 16, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownColumn:
    """A column as it is shown: `name`, `unit` ("" without one), the texts of its cells (None for null)."""

    name: str
    unit: str
    cells: Sequence[str | None]
    to_right: bool
    width: int

    @classmethod
    def of(cls, name: str, unit: str, cells: Sequence[str | None], *, to_right: bool) -> ShownColumn:
        texts = [name, unit, *(NULL if cell is None else cell for cell in cells)]
        return cls(name=name, unit=unit, cells=cells, to_right=to_right, width=max(map(cell_len, texts)))


@dataclass(frozen=True, kw_only=True, slots=True)
class TableLines:
    """A table, `columns` of whose columns are shown."""

    lines: Sequence[Text]
    columns: int


def table_lines(rows: pa.Table, *, width: int | None) -> TableLines:
    """The rows below their headings. What is wider than `width` lacks columns in its middle; None shows everything whole.

    Decimal points of a column stand below each other where there is room.
    """
    plain = _columns(rows, longest=None)
    pointed = [_pointed(column, field.type) for column, field in zip(plain, rows.schema, strict=True)]
    if width is None or _total(pointed) <= width:
        shown = pointed
    elif _total(plain) <= width:
        shown = plain
    else:
        # a few long texts must not take the place of other columns
        for longest in range(width, _SHORTEST_TEXT - 1, -_STEP):
            shown = _columns(rows, longest=longest)
            if _total(shown) <= width:
                break
        else:
            return _narrowed(_columns(rows, longest=max(_SHORTEST_TEXT, width // 4)), rows.num_rows, width)
    return TableLines(lines=list(_lines(shown, rows.num_rows)), columns=len(shown))


def record_lines(rows: pa.Table, *, width: int | None, first: int = 1) -> list[Text]:
    """Each row as a heading with its number (from `first` on) and a line for each column, values whole."""
    units = [_unit(field) for field in rows.schema]
    names = [f"{_shown(name)} {unit}".rstrip() for name, unit in zip(rows.column_names, units, strict=True)]
    side = max(map(cell_len, names), default=0)
    columns = [cell_texts(column) for column in rows.columns]
    found = []
    for number, row in enumerate(zip(*columns, strict=True), start=first):
        heading = f"─[ {number} ]"
        found.append(Text(heading + "─" * max(0, min(width or 80, 80) - len(heading)), style="dim"))
        for name, unit, cell in zip(rows.column_names, units, row, strict=True):
            line = Text(_shown(name), style="bold")
            line.append(f" {unit}" if unit else "", style="dim not bold")
            line.append(" " * (side - line.cell_len + _GAP))
            line.append(NULL if cell is None else cell, style="not bold dim" if cell is None else "not bold")
            found.append(line)
    return found


def _columns(rows: pa.Table, *, longest: int | None) -> list[ShownColumn]:
    return [_column(rows.schema.field(i), cell_texts(rows.column(i), longest=longest)) for i in range(rows.num_columns)]


def _column(field: pa.Field, cells: Sequence[str | None]) -> ShownColumn:
    return ShownColumn.of(_shown(field.name), _unit(field), cells, to_right=is_number(field.type))


def _shown(name: str) -> str:
    """A column's name, which can hold anything, on one line."""
    return cut("".join(char if char.isprintable() else " " for char in name), LONGEST_NAME)


def _unit(field: pa.Field) -> str:
    unit: str = (field.metadata or {}).get(b"unit", b"").decode()
    return unit


def _pointed(column: ShownColumn, kind: pa.DataType) -> ShownColumn:
    """The column with blanks behind its numbers, so that their decimal points stand below each other."""
    if not pa.types.is_floating(kind):
        return column
    behind = [0 if cell is None else len(cell) - _point(cell) for cell in column.cells]
    widest = max(behind, default=0)
    cells = [None if cell is None else cell + " " * (widest - size) for cell, size in zip(column.cells, behind, strict=True)]
    return ShownColumn.of(column.name, column.unit, cells, to_right=True)


def _point(text: str) -> int:
    return next((place for place, char in enumerate(text) if char in ".e"), len(text))


def _total(columns: Sequence[ShownColumn]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _narrowed(columns: Sequence[ShownColumn], rows: int, width: int) -> TableLines:
    """As many columns as fit, from both ends, with a mark where the others are."""
    mark = ShownColumn.of(CUT, "", [CUT] * rows, to_right=False)
    left, right = [columns[0]], list[ShownColumn]()
    rest = list(columns[1:])
    open_ends = {"left", "right"}
    while rest and open_ends:
        is_last = "right" in open_ends and ("left" not in open_ends or len(right) < len(left))
        chosen = rest[-1] if is_last else rest[0]
        if _total([*left, mark, *right, chosen]) > width:
            open_ends.discard("right" if is_last else "left")
        elif is_last:
            right.insert(0, rest.pop())
        else:
            left.append(rest.pop(0))
    shown = [*left, mark, *right]
    return TableLines(lines=list(_lines(shown, rows)), columns=len(shown) - 1)


def _lines(columns: Sequence[ShownColumn], rows: int) -> Iterator[Text]:
    yield _line(columns, [column.name for column in columns], style="bold")
    if any(column.unit for column in columns):
        yield _line(columns, [column.unit for column in columns], style="dim")
    for row in range(rows):
        yield _line(columns, [column.cells[row] for column in columns])


def _line(columns: Sequence[ShownColumn], cells: Sequence[str | None], *, style: str = "") -> Text:
    line = Text(style=style)
    for i, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        text = NULL if cell is None else cell
        room = " " * (column.width - cell_len(text))
        line.append(" " * _GAP if i else "")
        line.append(room if column.to_right else "")
        line.append(text, style="dim" if cell is None else None)
        line.append("" if column.to_right else room)
    line.rstrip()
    return line
