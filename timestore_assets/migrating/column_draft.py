"""A dataset's columns while operations are applied to them: by id, so that names are free to move.

What is shown, retired and declared, what was computed from what, and the few things that operations do to all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.schema_migrations import ColumnState
from timestore_assets.declaration.attributes import ColumnAttributes
from timestore_assets.declaration.from_attributes import to_column
from timestore_assets.migrating.migration_manifest import (
    Cast,
    Incoming,
    MigrationManifest,
    Rename,
    Transform,
)
from timestore_assets.migrating.row_expressions import RowExpression, as_type, parse_expression, reference
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.schema import Column, Ending, Schema, column_to_plain, references, to_plain
from timestore_assets.model.types import duckdb_type
from timestore_assets.querying.planning.column_names_in_sql import find_column

_OF_A_CATALOG = ("id", "aliases", "expression", "origin")
"""Of a column as plain values what a definition does not say, or says of none but declared ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """A column whose values are computed for rows that are there.

    `source`: whose values it takes the place of, None for one that comes beside the others.
    """

    column: Column
    source: Column | None
    inputs: tuple[int, ...]
    at: str
    """The operation's key in the manifest."""
    may_null: bool
    """Values that it can't be computed for may become NULL."""


@dataclass(slots=True)
class ColumnDraft:
    """The columns as they stand after the operations so far."""

    con: duckdb.DuckDBPyConnection
    manifest: MigrationManifest
    before: ColumnState
    shown: list[Column]
    retired: list[Column]
    declared: dict[int, dict[str, Any]]
    """The definition's columns by id, in its order."""
    keys: dict[int, str]
    """Columns that rows are told apart, placed or sorted by for ever, and what they are for."""
    last: int
    changes: list[SchemaChange] = field(default_factory=list)
    computed: list[Computed] = field(default_factory=list)
    dropped: list[Column] = field(default_factory=list)
    archived: list[Column] = field(default_factory=list)
    endings: dict[int, Ending] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    inverse: dict[int, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    incoming: Incoming | None = None
    original: dict[str, int] = field(default_factory=dict)
    """Ids by name, before anything was done."""

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, before: ColumnState, manifest: MigrationManifest) -> ColumnDraft:
        schema, definition = before.schema, before.definition
        ids = {column.name: column.id for column in schema}
        dedupe = definition["dedupe"] or {"keys": (), "by": None}
        keys = {ids[definition["time"]]: "the time"}
        keys |= {ids[name]: "in `partition_by`" for name in definition["partition_by"]}
        keys |= {ids[name]: "in `dedupe.keys`" for name in dedupe["keys"] if ids[name] not in keys}
        if dedupe["by"]:
            keys.setdefault(ids[dedupe["by"]], "`dedupe.by`")
        return cls(
            con=con,
            manifest=manifest,
            before=before,
            shown=list(schema.columns),
            retired=list(schema.retired),
            declared={ids[one["name"]]: dict(one) for one in definition["schema"]["columns"]},
            keys=keys,
            last=before.last_column_id,
            original=ids,
            incoming=manifest.incoming,
        )

    def take_place(self, source: Column, made: Column, at: str, one: Rename | Transform | Cast) -> None:
        """Put a new column where another was, which is retired."""
        if source.default is not None:
            self.notes.append(f"`{source.default}` of {source.name!r} was for its values of before, and is left out")
        schema = self.schema()
        inputs = _references(made.expression or "", schema)
        self.retire(source, by=made)
        self.remember(Computed(column=made, source=source, inputs=inputs, at=at, may_null=one.nulls))
        if made.name != source.name:
            self.change("column_dropped", source.name, str(source.type), None)
            self.change("column_added", made.name, None, str(made.type))
        else:
            self.change("column_transformed", made.name, str(source.type), str(made.type))
        if one.inverse is not None:
            back = self.parsed(one.inverse, Schema(columns=(made,)), f"{at}.inverse")
            self.inverse[source.id] = as_type(back, source.type)

    def remember(self, computed: Computed) -> None:
        """Note that a column is computed, and what from."""
        self.computed.append(computed)
        self.touch(*computed.inputs)

    def new(self, name: str, attributes: ColumnAttributes, expression: str | None, at: str, *, nulls: bool) -> Column:
        """A column with the next id, which is not yet among the others."""
        if nulls and not attributes.nullable:
            raise self.wrong("is false beside `on_error: null`, which makes it nullable", f"{at}.nullable")
        try:
            column = to_column(name, attributes)
        except DeclarationError as error:
            raise self.wrong(error.problem, f"{at}.{error.key.rpartition('.')[2]}") from None
        self.last += 1
        # a rewrite stops at a value that can't be computed, and does not where it may be null
        return replace(column, id=self.last, expression=f"TRY({expression})" if nulls and expression else expression)

    def retire(self, column: Column, *, by: Column | None = None) -> None:
        """Show a column no more; `by`: what stands in its place."""
        self.touch(column.id)
        place = self._place(column)
        self.shown[place : place + 1] = [by] if by is not None else []
        self.retired.append(column)
        self.endings[column.id] = Ending(version=self.before.schema.version + 1, by=None if by is None else by.id)
        if by is not None:
            # what was declared stays where it stood
            kept = {**self.declared} if column.id in self.declared else {**self.declared, column.id: {}}
            self.declared = {
                (by.id if one == column.id else one): (plain_declared(by) if one == column.id else plain)
                for one, plain in kept.items()
            }
        else:
            self.declared.pop(column.id, None)

    def replace(self, column: Column, other: Column) -> None:
        """Say something else of the same column."""
        self.touch(column.id)
        self.shown[self._place(column)] = other
        if column.id in self.declared:
            self.declared[column.id]["name"] = other.name

    def _place(self, column: Column) -> int:
        """Where a column stands; columns are equal whatever their ids."""
        return next(i for i, one in enumerate(self.shown) if one.id == column.id)

    def find(self, name: str, at: str, schema: Schema | None = None) -> Column:
        """The shown column of that name."""
        try:
            found = find_column(schema or self.schema(), name, dataset=self.manifest.dataset)
        except InputError as error:
            raise self.wrong(str(error), at) from None
        return found

    def parsed(self, text: str, schema: Schema, at: str) -> RowExpression:
        try:
            return parse_expression(self.con, text, schema, dataset=self.manifest.dataset)
        except InputError as error:
            raise self.wrong(str(error), at) from None

    def check_name(self, name: str, at: str) -> None:
        try:
            to_column(name, "string")
        except DeclarationError as error:
            raise self.wrong(error.problem, at) from None

    def refuse_key(self, column: Column, at: str) -> None:
        """Keys keep their values."""
        if column.id in self.keys:
            raise self.wrong(
                f"would change {column.name!r}, which is {self.keys[column.id]}: keys can only be renamed, since partitions were "
                "written by them; land into a new dataset instead",
                at,
            )

    def note_incoming(self, name: str, incoming: Incoming | None, at: str) -> None:
        """Of a name that gets another meaning: by which one records go that come from now on, which they can't tell."""
        if incoming is None:
            raise self.wrong(
                f"gives {name!r} another meaning, and records don't tell which one they have: write `incoming: new` when "
                "producers send new values from then on, `incoming: old` when they go on as before, or take a new name",
                at,
            )
        if self.incoming not in (None, incoming):
            raise self.wrong(
                f"is {incoming!r}, and the manifest says {self.incoming!r} elsewhere: records go by the names of one time, so "
                "it is the same for all columns",
                f"{at}.incoming",
            )
        self.incoming = incoming

    def change(self, kind: Any, column: str, before: str | None, after: str | None) -> None:
        self.changes.append(SchemaChange(kind=kind, column=column, before=before, after=after))

    def touch(self, *ids: int) -> None:
        """Columns with these ids are read or changed."""
        self.touched.update(name for name, one in self.original.items() if one in ids)

    def wrong(self, problem: str, at: str) -> DeclarationError:
        return self.manifest.wrong(problem, at=at)

    def schema(self) -> Schema:
        """The columns as they stand."""
        return Schema(columns=tuple(self.shown), version=self.before.schema.version, retired=tuple(self.retired))


def _references(sql: str, schema: Schema) -> tuple[int, ...]:
    """Ids of shown columns that an expression of ours reads; literals may hold what looks like one, which does no harm."""
    found = references(sql)
    return tuple(column.id for column in schema if column.id in found)


def plain_declared(column: Column) -> dict[str, Any]:
    """A declared column as a definition has it."""
    plain: dict[str, Any] = {**to_plain(column), "origin": "declared"}
    plain["default"] = column_to_plain(column).get("default")
    without = _OF_A_CATALOG if plain["default"] else (*_OF_A_CATALOG, "default")
    return {key: value for key, value in plain.items() if key == "origin" or key not in without}


def itself(column: Column) -> RowExpression:
    """A column's own values."""
    return RowExpression(sql=reference(column.id), inputs=(column.id,), type=column.type, duckdb_type=duckdb_type(column.type))
