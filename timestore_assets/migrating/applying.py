"""What operations make of a dataset's columns: a function of values, applied to a dry run's schema and again under the lock.

Columns, keys and order are held by id while it works, so that a rename reaches all that speaks of the column, and swaps and
chains are what they seem. Of renames that stand one behind the other only what comes of all of them counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import duckdb

from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.effective_declaration import is_widening
from timestore_assets.catalog.schema_migrations import ColumnState, Migrated
from timestore_assets.declaration.attributes import ColumnAttributes
from timestore_assets.declaration.from_attributes import to_column
from timestore_assets.migrating.migration_manifest import (
    Add,
    Cast,
    Drop,
    Incoming,
    MigrationManifest,
    Operation,
    Rename,
    Target,
    Transform,
)
from timestore_assets.migrating.row_expressions import RowExpression, as_type, literal_of, parse_expression, reference
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.schema import Column, FormerName, Schema, references, to_plain
from timestore_assets.model.types import ColumnType, duckdb_type
from timestore_assets.querying.planning.column_names_in_sql import find_any, find_column

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """`before`: what the operations were applied to. `notes`: what a person ought to know, a sentence each."""

    before: ColumnState
    migrated: Migrated
    computed: tuple[Computed, ...]
    dropped: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """The one that would be in force."""
        return self.migrated.state.schema


def apply(con: duckdb.DuckDBPyConnection, before: ColumnState, manifest: MigrationManifest) -> Applied:
    """Apply a manifest's operations, in order.

    `con`: whose parser and binder are used; no rows are read. Each column of `before` has an id.

    Raises:
        DeclarationError: an operation can't be meant or is not possible, with its place in the manifest.
    """
    if not manifest.operations and (manifest.incoming == "old" or before.schema.incoming is None):
        raise manifest.wrong("is empty, and records go by the present names already", at="operations")
    work = _Columns.of(con, before, manifest)
    numbered = list(enumerate(manifest.operations))
    for are_renames, run in groupby(numbered, key=lambda one: isinstance(one[1], Rename)):
        if are_renames:
            work.rename([(i, one) for i, one in run if isinstance(one, Rename)])
        else:
            for i, one in run:
                work.do(i, one)
    applied = work.result()
    _check_target(manifest, applied.schema)
    return applied


@dataclass(slots=True)
class _Columns:
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
    notes: list[str] = field(default_factory=list)
    inverse: dict[int, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    incoming: Incoming | None = None
    original: dict[str, int] = field(default_factory=dict)
    """Ids by name, before anything was done."""

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, before: ColumnState, manifest: MigrationManifest) -> _Columns:
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

    # --- one operation, or several renames

    def do(self, number: int, operation: Operation) -> None:
        at = f"operations.{number}.{type(operation).__name__.lower()}"
        match operation:
            case Transform():
                self._transform(operation, at)
            case Cast():
                self._cast(operation, at)
            case Drop():
                self._drop(operation, at)
            case Add():
                self._add(operation, at)
            case Rename():
                raise AssertionError(operation)

    def rename(self, run: Sequence[tuple[int, Rename]]) -> None:
        """Renames that stand one behind the other. A name means the column that had it before them, else the one that got it."""
        schema = self._schema()
        wanted: dict[int, tuple[Rename, str]] = {}
        for number, one in run:
            at = f"operations.{number}.rename"
            column = self._renamed(one, wanted, schema, at)
            if column.id in wanted and (one.expression or wanted[column.id][0].expression):
                raise self._wrong(f"renames {column.name!r} again; write one rename with the expression", f"{at}.from")
            self._check_name(one.to, f"{at}.to")
            wanted[column.id] = one, at
        kept = {column.name.casefold() for column in self.shown if column.id not in wanted}
        for one, at in wanted.values():
            if one.to.casefold() in kept:
                raise self._wrong(
                    f"is {one.to!r}, which another column is called; rename that one too, next to this one, or drop it before",
                    f"{at}.to",
                )
            kept.add(one.to.casefold())
        for column_id, (one, at) in wanted.items():
            self._rename(one, at, next(column for column in schema if column.id == column_id), schema)

    def _renamed(self, one: Rename, wanted: Mapping[int, tuple[Rename, str]], schema: Schema, at: str) -> Column:
        """The column that a rename among others means."""
        rest = replace(schema, columns=tuple(column for column in schema if column.id not in wanted))
        if find_any(rest, one.column) is None:
            moved = next((column_id for column_id, (other, _) in wanted.items() if other.to == one.column), None)
            if moved is not None:
                return next(column for column in schema if column.id == moved)
        return self._find(one.column, f"{at}.from", rest)

    def _rename(self, one: Rename, at: str, column: Column, schema: Schema) -> None:
        if one.to == column.name:
            raise self._wrong("is what the column is called already", f"{at}.to")
        if one.to in self.original:
            self._note_incoming(one.to, one.incoming, at)
        if one.expression is None:
            former = FormerName(name=column.name, until=one.until)
            aliases = (*(alias for alias in column.aliases if alias.name not in (one.to, column.name)), former)
            self._replace(column, replace(column, name=one.to, aliases=aliases))
            self._change("column_renamed", one.to, column.name, one.to)
            return
        made = self._computed(column, one.to, one, f"{at}.expression", schema)
        self._take_place(column, made, at, one)

    def _transform(self, one: Transform, at: str) -> None:
        column = self._find(one.column, f"{at}.column")
        self._note_incoming(column.name, one.incoming, at)
        made = self._computed(column, column.name, one, f"{at}.expression", self._schema())
        self._take_place(column, made, at, one)

    def _cast(self, one: Cast, at: str) -> None:
        column = self._find(one.column, f"{at}.column")
        self._refuse_key(column, at)
        if one.type == column.type:
            raise self._wrong(f"is {one.type}, which {column.name!r} is already", f"{at}.type")
        if is_widening(column.type, one.type, from_text=column.origin == "inferred"):
            widened = replace(column, type=one.type)
            self._replace(column, widened)
            self.declared.setdefault(column.id, _plain(widened))["type"] = str(one.type)
            self._change("type_widened", column.name, str(column.type), str(one.type))
            return
        found = _itself(column)
        nullable = column.nullable or one.nulls
        attributes = ColumnAttributes(type=str(one.type), nullable=nullable, description=column.description, unit=column.unit)
        made = self._new(column.name, attributes, as_type(found, one.type), at, nulls=one.nulls)
        if column.checks:
            self.notes.append(f"the checks of {column.name!r} were for values of type {column.type}, and are left out")
        self._take_place(column, replace(made, aliases=column.aliases), at, one)

    def _drop(self, one: Drop, at: str) -> None:
        column = self._find(one.column, f"{at}.column")
        self._refuse_key(column, at)
        if one.archive is None:
            raise self._wrong(
                f"loses the values of {column.name!r}; write `archive: true` to keep them, or `archive: false` to say so", at
            )
        self._retire(column)
        self.dropped.append(column)
        if one.archive and column.id not in self.original.values():
            raise self._wrong(
                f"is of {column.name!r}, which this manifest makes, so there is nothing to archive", f"{at}.archive"
            )
        if one.archive:
            self.archived.append(column)
        self._change("column_dropped", column.name, str(column.type), None)

    def _add(self, one: Add, at: str) -> None:
        schema = self._schema()
        found = next((column for column in self.shown if column.name.casefold() == one.column.casefold()), None)
        if found is not None and (found.origin == "declared" or found.id in self.declared):
            raise self._wrong(f"is {one.column!r}, which there is already; `transform` gives it other values", f"{at}.column")
        if found is None and one.column in self.original:
            self._note_incoming(one.column, one.incoming, at)
        value = self._value(one, at, schema)
        if value is None and found is not None:
            raise self._wrong(f"was found in the data as {found.type}; declare it, or write what older rows have", at)
        if value is None and one.described.nullable is False:
            raise self._wrong("is false, so rows that are there need a `default` or an `expression`", f"{at}.nullable")
        inputs = value.inputs if value else ()
        sql = None if value is None else as_type(value, one.type)
        if found is not None and sql is not None:
            sql, inputs = f"coalesce({as_type(_itself(found), one.type)}, {sql})", (found.id, *inputs)
        self._check_name(one.column, f"{at}.column")
        # records that don't have it yet are no reason to refuse them
        attributes = one.described.attributes(one.type, nullable=True, unit="", description="", allow_nan=False)
        made = self._new(one.column, attributes, sql, at, nulls=one.nulls)
        if found is not None:
            self._retire(found)
        self.shown.append(made)
        self.declared[made.id] = _plain(made)
        if found is None:
            self._change("column_added", made.name, None, str(made.type))
        else:
            self._change("column_transformed", made.name, str(found.type), str(made.type))
        if sql is not None:
            self._remember(Computed(column=made, source=found, inputs=inputs, at=at, may_null=one.nulls))

    def _value(self, one: Add, at: str, schema: Schema) -> RowExpression | None:
        if one.expression is not None:
            return self._parsed(one.expression, schema, f"{at}.expression")
        if one.default is None:
            return None
        try:
            sql = literal_of(self.con, one.default, one.type)
        except InputError as error:
            raise self._wrong(str(error), f"{at}.default") from None
        return RowExpression(sql=sql, inputs=(), type=one.type, duckdb_type=duckdb_type(one.type))

    # --- what they share

    def _computed(self, source: Column, name: str, one: Rename | Transform, at: str, schema: Schema) -> Column:
        """A new column by an expression, which is not yet among the others."""
        self._refuse_key(source, at.rpartition(".")[0])
        value = self._parsed(one.expression or "", schema, at)
        kind = one.to_type or value.type
        if kind is None:
            raise self._wrong(f"gives {value.duckdb_type}, which no column can have; write `to_type` too", at)
        said = one.described
        if not said.checks and source.checks:
            self.notes.append(
                f"the checks of {source.name!r} were for its values of before, and are left out; the manifest may name new ones"
            )
        attributes = said.attributes(
            kind, nullable=source.nullable or one.nulls, unit="", description=source.description, allow_nan=source.allow_nan
        )
        return self._new(name, attributes, as_type(value, kind), at.rpartition(".")[0], nulls=one.nulls)

    def _take_place(self, source: Column, made: Column, at: str, one: Rename | Transform | Cast) -> None:
        """Put a new column where another was, which is retired."""
        schema = self._schema()
        inputs = _references(made.expression or "", schema)
        self._retire(source, by=made)
        self._remember(Computed(column=made, source=source, inputs=inputs, at=at, may_null=one.nulls))
        if made.name != source.name:
            self._change("column_dropped", source.name, str(source.type), None)
            self._change("column_added", made.name, None, str(made.type))
        else:
            self._change("column_transformed", made.name, str(source.type), str(made.type))
        if one.inverse is not None:
            back = self._parsed(one.inverse, Schema(columns=(made,)), f"{at}.inverse")
            self.inverse[source.id] = as_type(back, source.type)

    def _remember(self, computed: Computed) -> None:
        self.computed.append(computed)
        self._touch(*computed.inputs)

    def _new(self, name: str, attributes: ColumnAttributes, expression: str | None, at: str, *, nulls: bool) -> Column:
        if nulls and not attributes.nullable:
            raise self._wrong("is false beside `on_error: null`, which makes it nullable", f"{at}.nullable")
        try:
            column = to_column(name, attributes)
        except DeclarationError as error:
            raise self._wrong(error.problem, f"{at}.{error.key.rpartition('.')[2]}") from None
        self.last += 1
        # a rewrite stops at a value that can't be computed, and does not where it may be null
        return replace(column, id=self.last, expression=f"TRY({expression})" if nulls and expression else expression)

    def _retire(self, column: Column, *, by: Column | None = None) -> None:
        self._touch(column.id)
        place = self._place(column)
        self.shown[place : place + 1] = [by] if by is not None else []
        self.retired.append(column)
        if by is not None:
            # what was declared stays where it stood
            kept = {**self.declared} if column.id in self.declared else {**self.declared, column.id: {}}
            self.declared = {
                (by.id if one == column.id else one): (_plain(by) if one == column.id else plain) for one, plain in kept.items()
            }
        else:
            self.declared.pop(column.id, None)

    def _replace(self, column: Column, other: Column) -> None:
        self._touch(column.id)
        self.shown[self._place(column)] = other
        if column.id in self.declared:
            self.declared[column.id]["name"] = other.name

    def _place(self, column: Column) -> int:
        """Where a column stands; columns are equal whatever their ids."""
        return next(i for i, one in enumerate(self.shown) if one.id == column.id)

    def _find(self, name: str, at: str, schema: Schema | None = None) -> Column:
        try:
            found = find_column(schema or self._schema(), name, dataset=self.manifest.dataset)
        except InputError as error:
            raise self._wrong(str(error), at) from None
        return found

    def _parsed(self, text: str, schema: Schema, at: str) -> RowExpression:
        try:
            return parse_expression(self.con, text, schema, dataset=self.manifest.dataset)
        except InputError as error:
            raise self._wrong(str(error), at) from None

    def _check_name(self, name: str, at: str) -> None:
        try:
            to_column(name, "string")
        except DeclarationError as error:
            raise self._wrong(error.problem, at) from None

    def _refuse_key(self, column: Column, at: str) -> None:
        if column.id in self.keys:
            raise self._wrong(
                f"would change {column.name!r}, which is {self.keys[column.id]}: keys can only be renamed, since partitions were "
                "written by them; land into a new dataset instead",
                at,
            )

    def _note_incoming(self, name: str, incoming: Incoming | None, at: str) -> None:
        """Of a name that gets another meaning: by which one records go that come from now on, which they can't tell."""
        if incoming is None:
            raise self._wrong(
                f"gives {name!r} another meaning, and records don't tell which one they have: write `incoming: new` when "
                "producers send new values from then on, `incoming: old` when they go on as before, or take a new name",
                at,
            )
        if self.incoming not in (None, incoming):
            raise self._wrong(
                f"is {incoming!r}, and the manifest says {self.incoming!r} elsewhere: records go by the names of one time, so "
                "it is the same for all columns",
                f"{at}.incoming",
            )
        self.incoming = incoming

    def _change(self, kind: Any, column: str, before: str | None, after: str | None) -> None:
        self.changes.append(SchemaChange(kind=kind, column=column, before=before, after=after))

    def _touch(self, *ids: int) -> None:
        self.touched.update(name for name, one in self.original.items() if one in ids)

    def _wrong(self, problem: str, at: str) -> DeclarationError:
        return self.manifest.wrong(problem, at=at)

    def _schema(self) -> Schema:
        return Schema(columns=tuple(self.shown), version=self.before.schema.version, retired=tuple(self.retired))

    # --- the end

    def result(self) -> Applied:
        columns = {column.id: column for column in _without_stale_aliases(self.shown)}
        in_order = (*self.declared, *(one for one in columns if one not in self.declared))
        before = self.before.schema
        schema = Schema(
            columns=tuple(columns[one] for one in in_order),
            version=before.version + 1,
            retired=tuple(self.retired),
            incoming=None if self.incoming == "new" else before.incoming or (before.version if self.incoming == "old" else None),
        )
        state = ColumnState(schema=schema, definition=self._definition(columns), last_column_id=self.last)
        live = [one for one in self.computed if one.column.id in columns]
        migrated = Migrated(
            state=state,
            changes=tuple(self.changes),
            computed=tuple(columns[one.column.id].name for one in live),
            inverse=self.inverse,
            archived=tuple(column.id for column in self.archived),
            touched=frozenset(self.touched),
        )
        return Applied(
            before=self.before,
            migrated=migrated,
            computed=tuple(self.computed),
            dropped=tuple(self.dropped),
            notes=tuple(self.notes),
        )

    def _definition(self, columns: dict[int, Column]) -> dict[str, Any]:
        """The definition with what the columns are called now."""
        before = self.before.definition

        def now(names: Iterable[str]) -> list[str]:
            return [columns[self.original[name]].name for name in names if self.original[name] in columns]

        dedupe = before["dedupe"]
        if dedupe is not None:
            by = dedupe["by"] and now([dedupe["by"]])[0]
            dedupe = {**dedupe, "keys": now(dedupe["keys"]), "by": by}
        plain: dict[str, Any] = {
            **before,
            "schema": {**before["schema"], "columns": list(self.declared.values())},
            "time": now([before["time"]])[0],
            "partition_by": now(before["partition_by"]),
            "dedupe": dedupe,
            "segments": {**before["segments"], "sort_by": self._sort_by(columns)},
        }
        made: dict[str, Any] = json.loads(json.dumps(plain))
        return made

    def _sort_by(self, columns: dict[int, Column]) -> list[str]:
        """Sort columns as they are called now: what took a column's place goes on in its place, what is dropped goes."""
        heirs = {one.source.id: one.column.id for one in self.computed if one.source is not None}
        names = []
        for name in self.before.definition["segments"]["sort_by"]:
            one: int | None = self.original[name]
            while one is not None and one not in columns:
                one = heirs.get(one)
            if one is not None:
                names.append(columns[one].name)
        return names


def _itself(column: Column) -> RowExpression:
    """A column's own values."""
    return RowExpression(sql=reference(column.id), inputs=(column.id,), type=column.type, duckdb_type=duckdb_type(column.type))


def _references(sql: str, schema: Schema) -> tuple[int, ...]:
    """Ids of shown columns that an expression of ours reads; literals may hold what looks like one, which does no harm."""
    found = references(sql)
    return tuple(column.id for column in schema if column.id in found)


def _without_stale_aliases(columns: Sequence[Column]) -> list[Column]:
    """The columns without former names that another one has now, or had more lately."""
    taken = {column.name for column in columns}
    found: list[Column] = []
    for column in sorted(columns, key=lambda one: one.id, reverse=True):
        kept = tuple(alias for alias in column.aliases if alias.name not in taken)
        taken.update(alias.name for alias in kept)
        found.append(replace(column, aliases=kept))
    by_id = {column.id: column for column in found}
    return [by_id[column.id] for column in columns]


def _plain(column: Column) -> dict[str, Any]:
    """A declared column as a definition has it."""
    plain: dict[str, Any] = {**to_plain(column), "origin": "declared"}
    return {key: value for key, value in plain.items() if key == "origin" or key not in _OF_A_CATALOG}


def _check_target(manifest: MigrationManifest, schema: Schema) -> None:
    """Compare what comes of it with what was expected."""
    if manifest.target is None:
        return
    for column in schema:
        expected = manifest.target.get(column.name)
        if expected is None:
            raise manifest.wrong(f"does not name {column.name!r}, which there is afterwards as {column.type}", at="targetSchema")
        if (problem := _differs(column, expected)) is not None:
            raise manifest.wrong(problem, at=f"targetSchema.{column.name}")
    if missing := sorted(set(manifest.target) - set(schema.names)):
        raise manifest.wrong("names a column that there is not afterwards", at=f"targetSchema.{missing[0]}")


def _differs(column: Column, expected: Target) -> str | None:
    kinds: tuple[ColumnType, ColumnType] = expected.type, column.type
    if kinds[0] != kinds[1]:
        return f"is {kinds[0]}, and the operations make it {kinds[1]}"
    if expected.nullable is not None and expected.nullable != column.nullable:
        return f"is {'nullable' if expected.nullable else 'not nullable'}, and the operations make it otherwise"
    return None
