"""The content hash that builds make: DuckDB's own hash of every value, added up as `segments.content_hash` adds up texts.

It costs a fiftieth of the portable one, for DuckDB hashes each entry of a dictionary once, and it has the same properties: rows
count as a multiset, a column without values changes nothing, neither order nor split nor file format plays a part. But DuckDB
does not promise that another version hashes alike. So the scheme's name is made of what this DuckDB gives for known values, and
hashes of two that differ are never compared: of partitions that another one has hashed, `verify` proves the files' digests.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import duckdb

from timestore_assets.model.hash_sums import hash_text, scheme_of
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import literal, quote
from timestore_assets.segments.content_hash import hash_sql, value_text
from timestore_assets.segments.engine import one_row

_KNOWN = (
    "true",
    "-7::INTEGER",
    "1234567890123::BIGINT",
    "0.1::FLOAT",
    "-1e300::DOUBLE",
    "'nan'::DOUBLE",
    "'-0.0'::DOUBLE",
    "1.5::DECIMAL(4, 2)",
    "1.5::DECIMAL(9, 2)",
    "1.5::DECIMAL(18, 2)",
    "1.5::DECIMAL(38, 2)",
    "DATE '2024-02-29'",
    "TIMESTAMP '2024-02-29 12:34:56.789012'",
    "''",
    "'é'",
    "'a text that is longer than what fits beside its length'",
    r"'\xFF\x00'::BLOB",
)
_schemes: list[str] = []
"""This process's, once it is known."""


def quick_hash(con: duckdb.DuckDBPyConnection, schema: Schema, table: str) -> str:
    """The content hash of a table, with this DuckDB's scheme. `table`: as in `content_hash.hash_sql`."""
    high, low = one_row(con, f"SELECT {_SUMS} FROM (SELECT {_of_row(schema)} AS h FROM {table})")
    return hash_text(int(high), int(low), scheme=hash_scheme(con))


def quick_hashes(con: duckdb.DuckDBPyConnection, schema: Schema, table: str, *, by: str) -> dict[Any, str]:
    """The same of each group of its rows, in one pass. `by`: SQL of what tells the groups apart, by which they are given."""
    rows = f"SELECT {by} AS g, {_of_row(schema)} AS h FROM {table}"
    found = con.execute(f"SELECT g, {_SUMS} FROM ({rows}) GROUP BY g").fetchall()
    scheme = hash_scheme(con)
    return {group: hash_text(int(high), int(low), scheme=scheme) for group, high, low in found}


def hashed_like(con: duckdb.DuckDBPyConnection, schema: Schema, table: str, *, wanted: str) -> str | None:
    """The content hash of a table in the scheme of another hash; None where this DuckDB can't make it."""
    scheme = scheme_of(wanted)
    if scheme in (None, hash_scheme(con)):
        return quick_hash(con, schema, table)
    return str(one_row(con, hash_sql(schema, table))[0]) if scheme == "" else None


def hash_scheme(con: duckdb.DuckDBPyConnection) -> str:
    """The name under which this DuckDB's hashes can be compared."""
    if not _schemes:
        values = one_row(con, f"SELECT {', '.join(_hash(value, 'name') for value in _KNOWN)}, hash(1::UBIGINT, 0)")
        _schemes.append("q" + sha256(repr(values).encode()).hexdigest()[:4])
    return _schemes[0]


_SUMS = "coalesce(sum(hash(h, 0)), 0), coalesce(sum(hash(h, 1)), 0)"


def _of_row(schema: Schema) -> str:
    return _together([_of_column(column) for column in schema])


def _together(columns: list[str]) -> str:
    """Hashes of a row's columns as one, in pairs of pairs: DuckDB limits how deep an expression may be."""
    if len(columns) < 2:
        return columns[0] if columns else "0::UBIGINT"
    middle = len(columns) // 2
    return f"xor({_together(columns[:middle])}, {_together(columns[middle:])})"


def _of_column(column: Column) -> str:
    # DuckDB hashes [] and [null] alike, and [[1], [2]] and [[1, 2]]; their canonical texts differ
    nested = column.origin != "inferred" and column.type.is_nested
    value = value_text(column) if nested else quote(column.name)
    return f"CASE WHEN {quote(column.name)} IS NULL THEN 0::UBIGINT ELSE {_hash(value, column.name)} END"


def _hash(value: str, name: str) -> str:
    # hashed again: a hash of several values is linear in them, so two columns could swap theirs
    return f"hash(hash({value}, {literal(name)}))"
