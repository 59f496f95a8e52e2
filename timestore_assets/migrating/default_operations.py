"""Defaults that a declaration has for columns, as the operations of a migration that adds these: one way to give rows values.

A column that was found in the data, or that is new, is added; what it is filled with is over the columns of before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb

from timestore_assets.catalog.declared_defaults import TICKET, DeclaredDefaults, DefaultsToAdd
from timestore_assets.catalog.effective_declaration import is_widening
from timestore_assets.catalog.schema_migrations import ColumnState, Migrated
from timestore_assets.migrating.applying import apply
from timestore_assets.migrating.migration_manifest import Add, Described, Governance, MigrationManifest
from timestore_assets.migrating.row_expressions import as_type, bound, literal_of, parse_expression
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import DeclarationError, InputError, RefusedError
from timestore_assets.model.schema import Column, Schema, column_to_plain, references, to_plain
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.planning.column_names_in_sql import find_any


def declared_defaults() -> DeclaredDefaults:
    """What carries out the defaults of declarations."""
    return DeclaredDefaults(to_add=_to_add, known=_known, computed=_computed)


def _to_add(state: ColumnState, dataset: Dataset) -> DefaultsToAdd | None:
    """What a declaration adds to the columns of a dataset with rows; None when it has no new default.

    Raises:
        DeclarationError: a default can't be meant. RefusedError: rows don't allow it.
    """
    declared = {one["name"] for one in state.definition["schema"]["columns"]}
    fresh = [column for column in dataset.schema if column.name not in declared and _is_fresh(state.schema, column)]
    if not any(column.default for column in fresh):
        return None
    for column in fresh:
        _require_fitting(state.schema, column, dataset)
    # an expression may be over columns that are new as well
    plain = [column for column in fresh if column.default is None and state.schema.find(column.name) is None]
    filled = [column for column in fresh if column.default is not None]
    manifest = _manifest(dataset, (*plain, *filled))
    return DefaultsToAdd(
        plain=manifest.plain, digest=manifest.digest, migrate=lambda now: _migrated(now, manifest, dataset.schema)
    )


def _is_fresh(schema: Schema, column: Column) -> bool:
    known = schema.find(column.name)
    return known is None or (known.origin == "inferred" and column.default is not None)


def _require_fitting(schema: Schema, column: Column, dataset: Dataset) -> None:
    """RefusedError where rows have values of a found column that the declared one could not have."""
    found = find_any(schema, column.name)
    if found is not None and not is_widening(found.type, column.type):
        raise RefusedError(
            f"column {column.name!r} of dataset {dataset.name!r} was found in the data as {found.type}, and declared with a "
            f"default as {column.type}, which may not hold what rows have: declare it as {found.type}, or add it by a migration "
            "(`timestore schema migrate`), which tries every row"
        )
    if found is None and column.default is None and not column.nullable:
        raise RefusedError(
            f"new column {column.name!r} of dataset {dataset.name!r} must be nullable or have a `default`, since older rows have "
            "no value for it"
        )


def _manifest(dataset: Dataset, columns: Sequence[Column]) -> MigrationManifest:
    plain = {"dataset": dataset.name, "operations": [{"add": _said(column)} for column in columns]}
    return MigrationManifest(
        dataset=dataset.name,
        governance=Governance(ticket=TICKET, approved_by=TICKET),
        operations=tuple(map(_operation, columns)),
        plain=json.loads(json.dumps(plain)),
    )


def _said(column: Column) -> dict[str, Any]:
    """The operation as a person would have written it."""
    plain = column_to_plain(column)
    default, checks = plain.pop("default", {}), plain.pop("checks", {})
    filled = {"default" if key == "value" else key: value for key, value in default.items()}
    rest = {key: value for key, value in plain.items() if key not in ("name", "origin")}
    return {"column": column.name, **rest, **checks, **filled}


def _operation(column: Column) -> Add:
    default = column.default
    return Add(
        column=column.name,
        type=column.type,
        default=None if default is None else default.value,
        expression=None if default is None else default.expression,
        # rows are not tried here, so that a process which starts does not read them all
        nulls=default is not None and default.expression is not None,
        is_standing=default is not None,
        described=Described(
            nullable=column.nullable,
            unit=column.unit,
            description=column.description,
            allow_nan=column.allow_nan,
            checks={key: value for key, value in to_plain(column.checks).items() if value is not None},
        ),
    )


def _migrated(state: ColumnState, manifest: MigrationManifest, declared: Schema) -> Migrated:
    con = syntax.parser()
    try:
        migrated = apply(con, state, manifest).migrated
        for column in migrated.state.schema:
            if column.name in migrated.computed:
                _require_bound(con, column, migrated.state.schema, declared)
        return migrated
    except DeclarationError as error:
        if not error.key.startswith("operations."):
            raise
        _, number, _, *key = error.key.split(".")
        raise DeclarationError(error.problem, key=".".join(["columns", manifest.operations[int(number)].column, *key])) from None


def _require_bound(con: duckdb.DuckDBPyConnection, column: Column, schema: Schema, declared: Schema) -> None:
    """DeclarationError where values can't become values of the column at all, or are of columns that nobody declares."""
    expression, key = column.expression or "", f"columns.{column.name}.expression"
    inputs = tuple(references(expression))
    try:
        bound(con, expression, schema, inputs)
    except InputError as error:
        raise DeclarationError(str(error), key=key) from None
    found = [one.name for one in schema if one.id in inputs and declared.find(one.name) is None]
    if found:
        raise DeclarationError(f"reads {found[0]!r}, which was found in the data; declare that column too", key=key)


def _known(schema: Schema, dataset: Dataset) -> Schema:
    """The schema with the declared defaults of columns to which a migration gave the same before."""
    con = syntax.parser()
    columns = []
    for column in schema:
        declared = dataset.schema.find(column.name)
        default = declared.default if declared else None
        is_same = default is not None and column.default is None and _gives(con, column, schema, declared, dataset)
        columns.append(replace(column, default=default) if is_same else column)
    return replace(schema, columns=tuple(columns))


def _gives(con: duckdb.DuckDBPyConnection, column: Column, schema: Schema, declared: Column | None, dataset: Dataset) -> bool:
    """Whether rows without a value of a column read as its declaration says."""
    if column.expression is None or column.origin != "declared" or declared is None:
        return False
    wanted = _expression(con, declared, schema, dataset)
    plain = wanted.removeprefix("TRY(").removesuffix(")") if wanted.startswith("TRY(") else wanted
    return any(column.expression == one or column.expression.endswith(f", {one})") for one in (wanted, plain))


def _computed(schema: Schema, dataset: Dataset) -> Schema:
    con = syntax.parser()
    columns = (
        column if column.default is None else replace(column, expression=_expression(con, column, schema, dataset))
        for column in schema
    )
    return replace(schema, columns=tuple(columns))


def _expression(con: duckdb.DuckDBPyConnection, column: Column, schema: Schema, dataset: Dataset) -> str:
    """SQL of a declared default over the columns of a schema by id; DeclarationError where it can't be meant."""
    assert column.default is not None  # noqa: S101 - that is what is asked for
    text = column.default.expression
    key = f"columns.{column.name}.{'default' if text is None else 'expression'}"
    try:
        if text is None:
            return literal_of(con, _written(column.default.value), column.type)
        found = parse_expression(con, text, _before(schema, column), dataset=dataset.name)
        return bound(con, f"TRY({as_type(found, column.type)})", schema, found.inputs).sql
    except InputError as error:
        raise DeclarationError(str(error), key=key) from None


def _before(schema: Schema, column: Column) -> Schema:
    """The columns that an expression may name: those without a default, and those whose default stands before it."""
    later = {one.name for one in schema.columns[schema.names.index(column.name) :] if one.default is not None}
    return replace(schema, columns=tuple(one for one in schema if one.name not in {*later, column.name}))


def _written(value: bool | int | float | str | None) -> bool | int | float | str:
    assert value is not None  # noqa: S101 - a default without an expression has one
    return value
