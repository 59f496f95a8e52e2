"""DuckDB's own parser, used to look at SQL before any of it runs: text to tree and a tree's expression back to text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from timestore_assets.model.errors import InputError

Tree = dict[str, Any]
"""A node as `json_serialize_sql` gives it."""


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1})


def parser() -> duckdb.DuckDBPyConnection:
    """A connection for `statements` and `deparse` where there is no other."""
    return _database().cursor()


def statements(con: duckdb.DuckDBPyConnection, text: str) -> list[Tree]:
    """The SELECT statements of a text, parsed and not bound.

    Raises:
        InputError: it does not parse, or holds something other than SELECT.
    """
    if "\x00" in text:
        raise InputError("the SQL holds a NUL character")
    ((document,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    parsed = json.loads(document)
    if parsed.get("error"):
        message = str(parsed.get("error_message", "")).strip().splitlines()
        reason = message[0] if message else "it does not parse"
        if "SELECT statements" in reason:
            reason = "only SELECT is possible"
        raise InputError(f"SQL: {reason}")
    found: list[Tree] = parsed["statements"]
    return found


def deparse(con: duckdb.DuckDBPyConnection, expression: Tree) -> str:
    """SQL text of an expression's tree, fully parenthesised, so that nothing can be hidden by quoting or comments."""
    statement = _template(con)
    statement["node"]["select_list"] = [expression]
    document = json.dumps({"error": False, "statements": [statement]})
    ((text,),) = con.execute("SELECT json_deserialize_sql(?::JSON)", [document]).fetchall()
    if not text.startswith("SELECT "):
        raise InputError("the SQL can't be read back")
    return str(text).removeprefix("SELECT ")


def _template(con: duckdb.DuckDBPyConnection) -> Tree:
    return statements(con, "SELECT 1")[0]


def nodes(tree: Any) -> Iterator[Tree]:
    """Every dict of a tree, outer ones first."""
    stack = [tree]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            yield current
            stack.extend(reversed(list(current.values())))
        elif isinstance(current, list):
            stack.extend(reversed(current))


def conjuncts(tree: Tree) -> list[Tree]:
    """The conditions that a tree joins by AND, at any depth; the tree itself when it does not."""
    if tree.get("type") == "CONJUNCTION_AND":
        return [part for child in tree["children"] for part in conjuncts(child)]
    return [tree]


def function_path(node: Tree) -> tuple[str, ...]:
    """The (possibly qualified) name of a function, window or type node, in lower case."""
    path = node.get("qualified_name", {}).get("path") or [node.get("function_name") or node.get("type_name") or ""]
    return tuple(str(part).lower() for part in path)


def constant(node: Tree) -> tuple[str, str] | None:
    """Kind (`STRING`, `INTEGER`, `NUMERIC`, `BOOLEAN`, …) and text of a constant, also below a cast; else None."""
    if node.get("class") == "CAST" and node.get("type_expr", {}).get("type_name", "").lower() in (
        "date",
        "timestamp",
        "datetime",
    ):
        node = node["child"]
    if node.get("class") != "CONSTANT":
        return None
    literal = node["literal"]
    return str(literal["kind"]), str(literal.get("text", ""))
