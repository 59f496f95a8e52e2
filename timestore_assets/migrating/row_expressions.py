"""A person's expression for a column's values: checked, with columns by their ids, and the type that it has.

It is over one row and gives the same whenever it is computed: rows are read through it for as long as they are not rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import ColumnType, duckdb_type, literal, quote
from timestore_assets.querying.planning import sql_words, syntax
from timestore_assets.querying.planning.where import RowLanguage, row_tree

_HASH = "hash"
CHANGING = frozenset(
    {
        # by chance
        "random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7",
        # by the clock
        "ago", "current_date", "current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp", "now",
        "today", "transaction_timestamp",
        # by the version of DuckDB
        _HASH,
    }
)  # fmt: skip
"""Functions of one row that give something else another time; also words without parentheses, see `sql_words.KEYWORDS`."""
_MANY = frozenset({"unnest"})
"""Makes several rows of one."""
_SINCE_TODAY = "age"
"""With one argument it is about today, with two about neither."""
_CHANGES = "it gives something else each time, and rows are read through it again and again"
EXPRESSION = RowLanguage(
    called="an expression",
    example="(temp - 32) * 5 / 9",
    functions=sql_words.SCALARS - CHANGING - _MANY,
    keywords=frozenset(),
    refused={
        **dict.fromkeys(CHANGING | sql_words.KEYWORDS, _CHANGES),
        _HASH: "another version of DuckDB may give something else; take md5 or sha256",
    },
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowExpression:
    """An expression over columns by id, such as `(("#4" - 32) * 5)`."""

    sql: str
    inputs: tuple[int, ...]
    type: ColumnType | None
    """Of its values; None when no column has such a type."""
    duckdb_type: str


def reference(column_id: int) -> str:
    """How an expression names a column."""
    return quote(f"#{column_id}")


def parse_expression(con: duckdb.DuckDBPyConnection, text: str, schema: Schema, *, dataset: str) -> RowExpression:
    """Check an expression over the shown columns of a schema, each of which has an id.

    Raises:
        InputError: it is no single expression of one row, names what there is not, or gives something else each time.
    """
    tree = row_tree(con, text, schema, dataset=dataset, language=EXPRESSION)
    inputs = dict[int, None]()
    for node in syntax.nodes(tree):
        if node.get("class") == "COLUMN_REF":
            name, *path = node["column_names"]
            column = schema.column(name)
            inputs[column.id] = None
            node["column_names"] = [f"#{column.id}", *path]
        if node.get("class") == "FUNCTION" and syntax.function_path(node)[-1] == _SINCE_TODAY and len(node["arguments"]) == 1:
            raise InputError("age() of one time is about today, so it gives something else each day; give it two times")
    return bound(con, syntax.deparse(con, tree), schema, tuple(inputs))


def bound(con: duckdb.DuckDBPyConnection, sql: str, schema: Schema, inputs: tuple[int, ...]) -> RowExpression:
    """An expression over ids with the type that DuckDB finds; InputError when it can't be bound."""
    columns = [column for one in inputs if (column := schema.by_id(one)) is not None]
    try:
        described = con.execute(f"DESCRIBE SELECT TRY({sql}) AS value FROM {_no_rows(columns)}").fetchall()
    except duckdb.Error as error:
        names = {f"#{column.id}": column.name for column in columns}
        raise InputError(f"the expression can't be computed: {_readable(str(error), names)}") from None
    found = str(described[0][1])
    return RowExpression(sql=sql, inputs=inputs, type=column_type(found), duckdb_type=found)


def _no_rows(columns: list[Column]) -> str:
    values = ", ".join(f"CAST(NULL AS {duckdb_type(column.type)}) AS {reference(column.id)}" for column in columns)
    return f"(SELECT {values or 'NULL AS nothing'})"


def _readable(message: str, names: Mapping[str, str]) -> str:
    """The first line of what DuckDB says, with the columns' names."""
    line = message.strip().splitlines()[0].partition(": ")
    text = re.sub(r"^\w+ Error:\s*", "", line[2] or line[0])
    return re.sub(r'"?(#\d+)"?', lambda found: repr(names.get(found[1], found[1])), text)


def as_type(expression: RowExpression, kind: ColumnType) -> str:
    """SQL of an expression's values as a type of ours."""
    wanted = duckdb_type(kind)
    return expression.sql if expression.duckdb_type == wanted else f"CAST({expression.sql} AS {wanted})"


_WRITTEN_AS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("string", "date", "timestamp"), (str,)),
    **dict.fromkeys(("int32", "int64"), (int,)),
    **dict.fromkeys(("float", "double"), (int, float)),
    "bool": (bool,),
}


def literal_of(con: duckdb.DuckDBPyConnection, value: bool | int | float | str, kind: ColumnType) -> str:
    """SQL of a value that a person wrote, as a type of ours; InputError when it is none of it."""
    if kind.is_nested or kind.kind == "binary":
        raise InputError(f"a {kind} can't be written as a default; use an expression")
    if not isinstance(value, _WRITTEN_AS.get(kind.kind, (str, int, float))) or isinstance(value, bool) != (kind.kind == "bool"):
        raise InputError(f"{value!r} is no {kind}")
    sql = f"CAST({literal(str(value))} AS {duckdb_type(kind)})"
    try:
        con.execute(f"SELECT {sql}").fetchall()
    except duckdb.Error:
        raise InputError(f"{value!r} is no {kind}") from None
    return sql


_TYPES = {
    "VARCHAR": "string",
    "BOOLEAN": "bool",
    "TINYINT": "int32",
    "SMALLINT": "int32",
    "INTEGER": "int32",
    "UTINYINT": "int32",
    "USMALLINT": "int32",
    "UINTEGER": "int64",
    "BIGINT": "int64",
    "FLOAT": "float",
    "DOUBLE": "double",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "BLOB": "binary",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def column_type(duckdb_name: str) -> ColumnType | None:
    """The column type that holds values of a DuckDB type; None when there is none, or only one that would round them."""
    if duckdb_name in _TYPES:
        return ColumnType(kind=_TYPES[duckdb_name])
    if found := _DECIMAL.fullmatch(duckdb_name):
        return ColumnType(kind="decimal", precision=int(found[1]), scale=int(found[2]))
    if duckdb_name.endswith("[]") and (item := column_type(duckdb_name[:-2])) is not None:
        return ColumnType(kind="list", item=item)
    return None
