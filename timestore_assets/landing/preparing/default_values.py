"""Records without a value of a column that has a default: they get it when they land, as older rows do when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.model.schema import Column, Schema
from timestore_assets.segments.projection import projection


def need_not_be_there(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns as records are decoded: one that has a default is no reason to refuse them."""
    return tuple(replace(column, nullable=True) if column.default is not None else column for column in columns)


def with_defaults(con: duckdb.DuckDBPyConnection, table: pa.Table, schema: Schema) -> pa.Table:
    """Decoded records with the defaults of a schema's columns, where they have no value, whether it is null or not there."""
    # an expression may be over columns that are filled as well, which came before
    for column in sorted((one for one in schema if one.default is not None), key=lambda one: one.id):
        if column.expression is None:
            continue
        if column.name not in table.column_names:
            table = table.append_column(column.name, _computed(con, table, column, schema))
            continue
        own = table.column(column.name)
        if own.null_count:
            values = pc.coalesce(own, _computed(con, table, column, schema).cast(own.type))
            table = table.set_column(table.column_names.index(column.name), column.name, values)
    return table


def _computed(con: duckdb.DuckDBPyConnection, table: pa.Table, column: Column, schema: Schema) -> pa.ChunkedArray:
    known = (schema.find(name) for name in table.column_names if name != column.name)
    written = Schema(columns=tuple(one for one in known if one is not None))
    wanted = projection([column], schema=schema, written=written)
    con.register("landing_defaults", table.select(list(written.names)))
    try:
        return con.sql(wanted.over("landing_defaults")).to_arrow_table().column(0)
    finally:
        con.unregister("landing_defaults")
