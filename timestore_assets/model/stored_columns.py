"""Which columns of a schema the rows that were stored under another one hold, and when those have to be written anew."""

from __future__ import annotations

from dataclasses import replace

from timestore_assets.model.schema import Column, Schema


def needs_rewrite(written: Schema, current: Schema) -> bool:
    """Whether rows of `written` have to be computed when they are read, so that a build which writes them anew pays.

    Whatever else has changed is read as it is, for ever.
    """
    return any(column.expression is not None and stored_as(column, written) is None for column in current)


def computed_since(made: Schema, current: Schema) -> Schema:
    """Of the current columns those that schema version `made` computes: what is left of its rewrite when others came after it."""
    computed = {column.id for column in made if column.expression is not None}
    return replace(current, columns=tuple(column for column in current if column.id in computed))


def stored_as(column: Column, written: Schema) -> Column | None:
    """The column as segments of that schema hold it; None when they don't.

    By name where one of them has no id: rows held in memory may have columns that the catalog has not seen.
    """
    for one in written:
        if one.id == column.id if one.id and column.id else one.name == column.name:
            return one
    return None
