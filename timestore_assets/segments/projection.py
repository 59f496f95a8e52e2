"""Rows that were written under one schema as rows of another: columns by their ids, and computed where a segment lacks them.

Nothing else maps columns: reading, merging, held rows and archives go through `projection`. A stored column is found by its id,
whatever it was called when it was written; one that is not there is computed by its expression, and without one it is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from timestore_assets.model.schema import Column, Schema, references
from timestore_assets.model.stored_columns import stored_as
from timestore_assets.model.types import duckdb_type, quote


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """The SELECT list that turns stored rows into asked ones.

    `reads`: names of stored columns that it reads, as the files have them. `select`: the outermost list. `levels`: what is
    computed below it, innermost first; the first one reads the stored columns, each of the others what is below it.
    """

    reads: tuple[str, ...]
    select: str
    levels: tuple[str, ...] = ()

    def over(self, source: str) -> str:
        """The whole SELECT over a table and, if need be, a condition on its stored columns: what stands after FROM."""
        for level in self.levels:
            source = f"(SELECT {level} FROM {source})"
        return f"SELECT {self.select} FROM {source}"


def projection(
    wanted: Sequence[Column],
    *,
    schema: Schema,
    written: Schema,
    stored: bool = False,
    hidden: Sequence[str] = (),
    strict: bool = False,
) -> Projection:
    """How rows of `written` become the `wanted` columns of `schema`, followed by the `hidden` ones.

    `stored`: inferred columns as the raw text that segments hold. `strict`: a value that can't be computed is an error of
    DuckDB's; else it reads as null, so that one bad value does not end every question.
    """
    sources = [stored_as(column, written) for column in wanted]
    computed = [column for column, source in zip(wanted, sources, strict=True) if source is None and column.expression]
    if not computed:
        values = [
            _named(stored_value(column, source, stored=stored), quote(column.name))
            for column, source in zip(wanted, sources, strict=True)
        ]
        reads = [source.name for source in sources if source is not None]
        return Projection(reads=_read(reads, written), select=", ".join([*values, *hidden]) or "NULL")
    return _in_levels(wanted, sources, schema, written, stored=stored, hidden=hidden, strict=strict)


def columns_read(wanted: Iterable[Column], *, schema: Schema, written: Iterable[Schema]) -> list[str]:
    """Names under which files of these schemas hold what it takes to read some columns, for who fetches only those."""
    names: dict[str, None] = {}
    for one in written:
        names |= dict.fromkeys(projection(list(wanted), schema=schema, written=one).reads)
    return list(names)


def stored_value(column: Column, written: Column | None, *, stored: bool) -> str:
    """SQL that turns a column as a file holds it into the asked form."""
    kind = asked_type(column, stored=stored)
    if written is None:
        return f"CAST(NULL AS {kind})"
    name = quote(written.name)
    if written.origin == column.origin:
        if column.origin == "inferred" and not stored:
            return _read_from_text(column, name)
        return name if written.stored_type == kind else f"CAST({name} AS {kind})"
    # once inferred and now declared, or the reverse: the raw text of a value may not fit, and then it reads as null
    return f"try_cast({name} AS {kind})"


def asked_type(column: Column, *, stored: bool) -> str:
    """DuckDB type of a column in the asked form."""
    return column.stored_type if stored else duckdb_type(column.type)


def _read_from_text(column: Column, name: str) -> str:
    return name if column.type.kind == "string" else f"try_cast({name} AS {duckdb_type(column.type)})"


def _named(expression: str, name: str) -> str:
    return name if expression == name else f"{expression} AS {name}"


def _in_levels(
    wanted: Sequence[Column],
    sources: Sequence[Column | None],
    schema: Schema,
    written: Schema,
    *,
    stored: bool,
    hidden: Sequence[str],
    strict: bool,
) -> Projection:
    """The same where something is computed: below the shown names columns are called by number, so that no name is in the way."""
    inputs, steps = _needed(wanted, schema, written)
    direct = {f'"@{i}"': (column, source) for i, (column, source) in enumerate(zip(wanted, sources, strict=True))}
    reads: dict[str, None] = {}
    innermost = []
    for label, (column, source) in direct.items():
        if source is not None or column.expression is None:
            innermost.append(f"{stored_value(column, source, stored=stored)} AS {label}")
            reads |= {source.name: None} if source is not None else {}
    for column in inputs:
        source = stored_as(column, written)
        innermost.append(f"{stored_value(column, source, stored=False)} AS {_number(column)}")
        reads |= {source.name: None} if source is not None else {}
    # where only constants are asked for, nothing is read, but each row still counts
    levels = [", ".join([*innermost, *hidden]) or 'NULL AS "#"']
    levels += [", ".join(["*", *(f"{_computed(one, strict=strict)} AS {_number(one)}" for one in step)]) for step in steps]
    shown = []
    for label, (column, source) in direct.items():
        is_computed = source is None and column.expression is not None
        value = f"CAST({_number(column)} AS {asked_type(column, stored=stored)})" if is_computed else label
        shown.append(f"{value} AS {quote(column.name)}")
    return Projection(reads=_read(reads, written), select=", ".join([*shown, *hidden]), levels=tuple(levels))


def _read(names: Iterable[str], written: Schema) -> tuple[str, ...]:
    # where a table counts for its rows alone, DuckDB reads the first column
    return tuple(names) or tuple(column.name for column in written.columns[:1])


def _needed(wanted: Sequence[Column], schema: Schema, written: Schema) -> tuple[list[Column], list[list[Column]]]:
    """Columns that expressions read from the files, and those that are computed, in steps; each needs only those before it."""
    depth: dict[int, int] = {}
    found: dict[int, Column] = {}

    def visit(column: Column) -> int:
        if column.id not in depth:
            found[column.id] = column
            if stored_as(column, written) is not None or column.expression is None:
                depth[column.id] = 0
            else:
                below = [one for number in references(column.expression) if (one := _by_id(number, schema, written)) is not None]
                depth[column.id] = 1 + max((visit(one) for one in below if one.id != column.id), default=0)
        return depth[column.id]

    for column in wanted:
        if column.expression is not None and stored_as(column, written) is None:
            visit(column)
    inputs = [found[number] for number, at in depth.items() if at == 0]
    last = max(depth.values(), default=0)
    return inputs, [[found[number] for number, at in depth.items() if at == step] for step in range(1, last + 1)]


def _by_id(number: int, schema: Schema, written: Schema) -> Column | None:
    return schema.by_id(number) or written.by_id(number)


def _number(column: Column) -> str:
    return f'"#{column.id}"'


def _computed(column: Column, *, strict: bool) -> str:
    value = f"CAST(({column.expression}) AS {duckdb_type(column.type)})"
    return value if strict else f"TRY({value})"
