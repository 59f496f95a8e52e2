"""What becomes of rows, in plain Python: stored values by column id, read as the columns of a schema, and records decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from timestore_assets.model.schema import Column, Schema

Value = int | str | datetime | None
Stored = Mapping[int, Value]
"""Of a row, by column id."""
Row = tuple[tuple[str, Value], ...]
"""As a person sees it, in order of names."""
# as people write them over `a` and `b`, with what takes the first back
EXPRESSIONS = {"plus": "{a} + 1", "double": "{a} * 2", "sum": "coalesce({a}, 0) + coalesce({b}, 5)"}
INVERSES = {"plus": "{a} - 1"}
_REFERENCE = re.compile(r'"#(\d+)"')
# as the catalog keeps them
_TWINS: Mapping[str, Callable[..., Value]] = {
    "(@ + 1)": lambda a: None if a is None else a + 1,
    "(@ - 1)": lambda a: None if a is None else a - 1,
    "(@ * 2)": lambda a: None if a is None else a * 2,
    "(COALESCE(@, 0) + COALESCE(@, 5))": lambda a, b: (a or 0) + (5 if b is None else b),
    "CAST('9' AS BIGINT)": lambda: 9,
}


# a column that is back: of what took its place where that has a value, else as it was computed before
_EITHER = re.compile(r'CASE WHEN \("#(\d+)" IS NOT NULL\) THEN \((.*?)\) ELSE CAST\(\((.*)\) AS BIGINT\) END')


@dataclass(frozen=True)
class Block:
    """Rows of one file in one partition, as they are stored under a schema version."""

    day: int
    source: int
    written: int
    rows: tuple[tuple[tuple[int, Value], ...], ...]

    @property
    def stored(self) -> list[Stored]:
        return [dict(row) for row in self.rows]


def block(day: int, source: int, written: Schema, rows: list[Stored]) -> Block:
    """Rows that have just these columns; what a row lacks is null."""
    kept = tuple(tuple((column.id, row.get(column.id)) for column in written) for row in rows)
    return Block(day=day, source=source, written=written.version, rows=kept)


def value_of(column: Column, row: Stored, schema: Schema) -> Value:
    """Of a stored row in a column of this schema: what is stored, else what its expression gives."""
    if column.id in row:
        return row[column.id]
    if column.expression is None:
        return None
    return _computed(column.expression, row, schema)


def _computed(expression: str, row: Stored, schema: Schema) -> Value:
    numbers = [int(number) for number in _REFERENCE.findall(expression)]
    values = {number: value_of(known, row, schema) for number in numbers if (known := schema.by_id(number)) is not None}
    if either := _EITHER.fullmatch(expression):
        there, back, own = either.groups()
        return _computed(own if values.get(int(there)) is None else back, row, schema)
    return _TWINS[_REFERENCE.sub("@", expression)](*(values[number] for number in numbers if number in values))


def inputs_of(column: Column) -> list[int]:
    return [int(number) for number in _REFERENCE.findall(column.expression or "")]


def best(blocks: Sequence[Block], keys: tuple[int, ...], by: int) -> list[Block]:
    """Blocks with the rows that stay of those with equal keys, the ones of the greatest revision; without empty ones."""
    winners: dict[tuple[Value, ...], Stored] = {}
    for row in (row for one in blocks for row in one.stored):
        known = winners.setdefault(tuple(row[key] for key in keys), row)
        if _revision(row, by) > _revision(known, by):
            winners[tuple(row[key] for key in keys)] = row
    stay = {_revision(row, by) for row in winners.values()}
    kept = [replace(one, rows=tuple(row for row in one.rows if _revision(dict(row), by) in stay)) for one in blocks]
    return [one for one in kept if one.rows]


def _revision(row: Stored, by: int) -> int:
    """No two records of a test have the same."""
    found = row[by]
    assert isinstance(found, int)
    return found


def seen(row: Stored, schema: Schema) -> Row:
    return tuple(sorted((column.name, value_of(column, row, schema)) for column in schema))


def decoded(record: Mapping[str, Value], schema: Schema, then: Schema) -> Stored | None:
    """A record as a row of the schema; None when it is refused. `then`: the schema whose names it goes by."""
    own: dict[int, Value] = {}
    earlier: dict[int, Value] = {}
    beside = {one.name: one for one in schema.retired if any(one.id in _earlier_inputs(column, schema) for column in schema)}
    for name, value in record.items():
        known, shown = then.find(name), schema.find(name) or schema.former_names.get(name)
        if known is not None and (shown is None or shown.id != known.id):
            earlier[known.id] = value
        elif shown is not None:
            own[shown.id] = value
        elif name in beside:
            earlier[beside[name].id] = value
    for number in sorted(earlier):
        column = schema.by_id(number)
        if column is not None and earlier[number] is None and _has_any(column, earlier, schema):
            earlier[number] = value_of(column, {k: v for k, v in earlier.items() if k != number}, schema)
    row = {column.id: own.get(column.id) for column in schema}
    for column in schema:
        # what a column would be computed from makes no other value of it
        if own.get(column.id) is None and _has_any(column, earlier, schema):
            row[column.id] = value_of(column, {**{k: v for k, v in own.items() if k != column.id}, **earlier}, schema)
    return row


def _earlier_inputs(column: Column, schema: Schema) -> set[int]:
    """Retired columns that a column is computed from, also by way of others."""
    retired = {one.id: one for one in schema.retired}
    direct = [number for number in inputs_of(column) if number in retired]
    return {*direct, *(further for number in direct for further in _earlier_inputs(retired[number], schema))}


def _has_any(column: Column, earlier: Stored, schema: Schema) -> bool:
    return any(earlier.get(number) is not None for number in _earlier_inputs(column, schema))
