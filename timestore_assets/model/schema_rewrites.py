"""When rows that were stored under one schema version have to be written anew for another."""

from __future__ import annotations

from dataclasses import replace

from timestore_assets.model.schema import Schema


def needs_rewrite(written: Schema, current: Schema) -> bool:
    """Whether a shown column is computed for rows of `written`; whatever else changed is read as it is, for ever."""
    stored = {column.id for column in written}
    return any(column.expression is not None and column.id not in stored for column in current)


def computed_since(made: Schema, current: Schema) -> Schema:
    """Of the current columns those that schema version `made` computes: what is left of its rewrite when others came after it."""
    computed = {column.id for column in made if column.expression is not None}
    return replace(current, columns=tuple(column for column in current if column.id in computed))
