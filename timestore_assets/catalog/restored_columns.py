"""Out of what the columns of an earlier schema are computed once they are in force again: pure.

Rows may have been written before a column was there (its own expression serves them) or after it had gone (the inverse that the
migration named does), also several migrations ago or since. So a column may be computed both ways, by way of columns that are
shown no more, and never in a circle: which would be read for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from timestore_assets.model.schema import Column, Schema, references
from timestore_assets.model.types import duckdb_type

Columns = dict[int, Column]
"""By id, shown and retired."""


def recomputed(wanted: Schema, current: Schema, later: Sequence[Schema], inverse: Mapping[int, str]) -> Columns:
    """All columns as they are once `wanted` is in force again, with what computes them.

    Args:
        current: the schema that is left. later: schemas of rows that there are, written since `wanted`.
        inverse: what computes a column that a migration has retired, of the one that took its place, by the former's id.
    """
    known = {column.id: column for column in (*wanted.retired, *wanted) if column.id}
    since = {column.id: column for column in (*current, *current.retired) if column.id not in known}
    # these came out of the ones that are back: going both ways would be a circle
    found: Columns = known | {number: replace(column, expression=None) for number, column in since.items()}
    waiting, used = [column.id for column in wanted], set[int]()
    while waiting:
        column = found.get(number := waiting.pop(0))
        if column is None or number in used:
            continue
        used.add(number)
        back = inverse.get(number)
        if back is not None and any(not _holds(schema, number) for schema in later):
            found[number] = column = _computed_back(column, back, found)
        waiting += references(column.expression or "")
    return found | {number: column for number, column in since.items() if number not in used}


def is_computed(column: Column, found: Columns, written: Schema, seen: Collection[int] = ()) -> bool:
    """Whether rows of a schema have a value for a column, or something to compute one of."""
    if _holds(written, column.id):
        return True
    if column.expression is None or column.id in seen:
        return False
    inputs = references(column.expression)
    below = [found[number] for number in inputs if number in found]
    return not inputs or any(is_computed(one, found, written, {*seen, column.id}) for one in below)


def _computed_back(column: Column, back: str, found: Columns) -> Column:
    """A column that is computed of what took its place where that has a value, and else as it was until then."""
    of = references(back)
    own = column.expression
    if any(column.id in _reached(number, found) for number in of) or set(of) <= set(references(own or "")):
        return column
    if own is None or not of:
        return replace(column, expression=own or back)
    there = " OR ".join(f'"#{number}" IS NOT NULL' for number in of)
    # each row has been written in one of both ways, and lacks what the other one reads
    both = f"CASE WHEN ({there}) THEN ({back}) ELSE CAST(({own}) AS {duckdb_type(column.type)}) END"
    return replace(column, expression=both)


def _reached(number: int, found: Columns) -> set[int]:
    """Ids of the columns that one is computed of, also by way of others, with its own."""
    reached: set[int] = set()
    waiting = [number]
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached.add(one)
            waiting += references(found[one].expression or "") if one in found else []
    return reached


def _holds(schema: Schema, number: int) -> bool:
    return any(column.id == number for column in schema)
