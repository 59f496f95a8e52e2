"""What each operation of a manifest does to a draft of the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from timestore_assets.catalog.effective_declaration import is_widening
from timestore_assets.declaration.attributes import ColumnAttributes
from timestore_assets.migrating.column_draft import ColumnDraft, Computed, itself, plain_declared
from timestore_assets.migrating.migration_manifest import (
    Add,
    Cast,
    Drop,
    Operation,
    Rename,
    Transform,
)
from timestore_assets.migrating.row_expressions import RowExpression, as_type, literal_of
from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, ColumnDefault, FormerName, Schema
from timestore_assets.model.types import duckdb_type
from timestore_assets.querying.planning.column_names_in_sql import find_any


def do(draft: ColumnDraft, number: int, operation: Operation) -> None:
    """Carry out one that is no rename. `number`: its place in the manifest."""
    at = f"operations.{number}.{type(operation).__name__.lower()}"
    match operation:
        case Transform():
            _transform(draft, operation, at)
        case Cast():
            _cast(draft, operation, at)
        case Drop():
            _drop(draft, operation, at)
        case Add():
            _add(draft, operation, at)
        case Rename():
            raise AssertionError(operation)


def rename(draft: ColumnDraft, run: Sequence[tuple[int, Rename]]) -> None:
    """Renames that stand one behind the other. A name means the column that had it before them, else the one that got it."""
    schema = draft.schema()
    wanted: dict[int, tuple[Rename, str]] = {}
    for number, one in run:
        at = f"operations.{number}.rename"
        column = _renamed(draft, one, wanted, schema, at)
        if column.id in wanted and (one.expression or wanted[column.id][0].expression):
            raise draft.wrong(f"renames {column.name!r} again; write one rename with the expression", f"{at}.from")
        draft.check_name(one.to, f"{at}.to")
        wanted[column.id] = one, at
    kept = {column.name.casefold() for column in draft.shown if column.id not in wanted}
    for one, at in wanted.values():
        if one.to.casefold() in kept:
            raise draft.wrong(
                f"is {one.to!r}, which another column is called; rename that one too, next to this one, or drop it before",
                f"{at}.to",
            )
        kept.add(one.to.casefold())
    for column_id, (one, at) in wanted.items():
        _rename(draft, one, at, next(column for column in schema if column.id == column_id), schema)


def _renamed(draft: ColumnDraft, one: Rename, wanted: Mapping[int, tuple[Rename, str]], schema: Schema, at: str) -> Column:
    """The column that a rename among others means."""
    rest = replace(schema, columns=tuple(column for column in schema if column.id not in wanted))
    if find_any(rest, one.column) is None:
        moved = next((column_id for column_id, (other, _) in wanted.items() if other.to == one.column), None)
        if moved is not None:
            return next(column for column in schema if column.id == moved)
    return draft.find(one.column, f"{at}.from", rest)


def _rename(draft: ColumnDraft, one: Rename, at: str, column: Column, schema: Schema) -> None:
    if one.to == column.name:
        raise draft.wrong("is what the column is called already", f"{at}.to")
    if one.to in draft.original:
        draft.note_incoming(one.to, one.incoming, at)
    if one.expression is None:
        former = FormerName(name=column.name, until=one.until)
        aliases = (*(alias for alias in column.aliases if alias.name not in (one.to, column.name)), former)
        draft.replace(column, replace(column, name=one.to, aliases=aliases))
        draft.change("column_renamed", one.to, column.name, one.to)
        return
    made = _computed(draft, column, one.to, one, f"{at}.expression", schema)
    draft.take_place(column, made, at, one)


def _transform(draft: ColumnDraft, one: Transform, at: str) -> None:
    column = draft.find(one.column, f"{at}.column")
    draft.note_incoming(column.name, one.incoming, at)
    made = _computed(draft, column, column.name, one, f"{at}.expression", draft.schema())
    draft.take_place(column, made, at, one)


def _cast(draft: ColumnDraft, one: Cast, at: str) -> None:
    column = draft.find(one.column, f"{at}.column")
    draft.refuse_key(column, at)
    if one.type == column.type:
        raise draft.wrong(f"is {one.type}, which {column.name!r} is already", f"{at}.type")
    if is_widening(column.type, one.type, from_text=column.origin == "inferred"):
        widened = replace(column, type=one.type)
        draft.replace(column, widened)
        draft.declared.setdefault(column.id, plain_declared(widened))["type"] = str(one.type)
        draft.change("type_widened", column.name, str(column.type), str(one.type))
        return
    found = itself(column)
    nullable = column.nullable or one.nulls
    attributes = ColumnAttributes(type=str(one.type), nullable=nullable, description=column.description, unit=column.unit)
    made = draft.new(column.name, attributes, as_type(found, one.type), at, nulls=one.nulls)
    if column.checks:
        draft.notes.append(f"the checks of {column.name!r} were for values of type {column.type}, and are left out")
    draft.take_place(column, replace(made, aliases=column.aliases), at, one)


def _drop(draft: ColumnDraft, one: Drop, at: str) -> None:
    column = draft.find(one.column, f"{at}.column")
    draft.refuse_key(column, at)
    if one.archive is None:
        raise draft.wrong(
            f"loses the values of {column.name!r}; write `archive: true` to keep them, or `archive: false` to say so", at
        )
    draft.retire(column)
    draft.dropped.append(column)
    if one.archive and column.id not in draft.original.values():
        raise draft.wrong(f"is of {column.name!r}, which this manifest makes, so there is nothing to archive", f"{at}.archive")
    if one.archive:
        draft.archived.append(column)
    draft.change("column_dropped", column.name, str(column.type), None)


def _add(draft: ColumnDraft, one: Add, at: str) -> None:
    schema = draft.schema()
    found = next((column for column in draft.shown if column.name.casefold() == one.column.casefold()), None)
    if found is not None and (found.origin == "declared" or found.id in draft.declared):
        raise draft.wrong(f"is {one.column!r}, which there is already; `transform` gives it other values", f"{at}.column")
    if found is None and one.column in draft.original:
        draft.note_incoming(one.column, one.incoming, at)
    value = _value(draft, one, at, schema)
    if value is None and found is not None:
        raise draft.wrong(f"was found in the data as {found.type}; declare it, or write what older rows have", at)
    if value is None and one.described.nullable is False:
        raise draft.wrong("is false, so rows that are there need a `default` or an `expression`", f"{at}.nullable")
    inputs = value.inputs if value else ()
    sql = None if value is None else as_type(value, one.type)
    if found is not None and sql is not None:
        sql, inputs = f"coalesce({as_type(itself(found), one.type)}, {sql})", (found.id, *inputs)
    draft.check_name(one.column, f"{at}.column")
    # records that don't have it yet are no reason to refuse them
    attributes = one.described.attributes(one.type, nullable=True, unit="", description="", allow_nan=False)
    made = draft.new(one.column, attributes, sql, at, nulls=one.nulls)
    if one.is_standing and value is not None:
        made = replace(made, default=ColumnDefault(value=one.default, expression=one.expression))
    if found is not None:
        draft.retire(found)
    draft.shown.append(made)
    draft.declared[made.id] = plain_declared(made)
    if found is None:
        draft.change("column_added", made.name, None, str(made.type))
    else:
        draft.change("column_transformed", made.name, str(found.type), str(made.type))
    if sql is not None:
        draft.remember(Computed(column=made, source=found, inputs=inputs, at=at, may_null=one.nulls))


def _value(draft: ColumnDraft, one: Add, at: str, schema: Schema) -> RowExpression | None:
    if one.expression is not None:
        return draft.parsed(one.expression, schema, f"{at}.expression")
    if one.default is None:
        return None
    try:
        sql = literal_of(draft.con, one.default, one.type)
    except InputError as error:
        raise draft.wrong(str(error), f"{at}.default") from None
    return RowExpression(sql=sql, inputs=(), type=one.type, duckdb_type=duckdb_type(one.type))


def _computed(draft: ColumnDraft, source: Column, name: str, one: Rename | Transform, at: str, schema: Schema) -> Column:
    """A new column by an expression, which is not yet among the others."""
    draft.refuse_key(source, at.rpartition(".")[0])
    value = draft.parsed(one.expression or "", schema, at)
    kind = one.to_type or value.type
    if kind is None:
        raise draft.wrong(f"gives {value.duckdb_type}, which no column can have; write `to_type` too", at)
    said = one.described
    if not said.checks and source.checks:
        draft.notes.append(
            f"the checks of {source.name!r} were for its values of before, and are left out; the manifest may name new ones"
        )
    attributes = said.attributes(
        kind, nullable=source.nullable or one.nulls, unit="", description=source.description, allow_nan=source.allow_nan
    )
    return draft.new(name, attributes, as_type(value, kind), at.rpartition(".")[0], nulls=one.nulls)
