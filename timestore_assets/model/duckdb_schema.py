"""The DuckDB form of a schema: the DDL of a dataset's table."""

from __future__ import annotations

from timestore_assets.model.schema import PROVENANCE_COLUMNS, Schema
from timestore_assets.model.types import duckdb_type, quote


def table_ddl(schema: Schema, table: str, *, stored: bool = False) -> str:
    """`CREATE TABLE` for rows of a schema.

    `table`: its name, quoted here. `stored`: the table inside a segment, with inferred columns as the raw text they are
    stored as and the provenance columns at the end; otherwise what a reader sees.
    """
    columns = []
    for column in schema:
        kind = column.stored_type if stored else duckdb_type(column.type)
        columns.append(f"{quote(column.name)} {kind}{'' if column.nullable else ' NOT NULL'}")
    if stored:
        columns += [f"{name} BIGINT NOT NULL" for name in PROVENANCE_COLUMNS]
    return f"CREATE TABLE {quote(table)} (\n    " + ",\n    ".join(columns) + "\n)"
