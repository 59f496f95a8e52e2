"""DuckDB's own parser, used to look at SQL before any of it runs: text to tree and a tree's expression back to text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from timestore_assets.model.errors import InputError

Tree = dict[str, Any]
"""A node as `json_serialize_sql` gives it."""


MAX_TEXT = 100_000
MAX_NESTING = 400
"""Brackets within brackets. DuckDB's parser takes memory and time by the square of their number."""
TOO_DEEP = "it is more than 1,000 levels deep, for instance by one operator after the other; write it in less deep parts"
_BRACKET = re.compile(r"""(?:'[^']*'|"[^"]*"|--[^\n]*|/\*(?:.*?\*/|.*)|[^'"()\[\]{}/-]+)|([(\[{])|([)\]}])|.""", re.DOTALL)
_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+""")


def refuse_bombs(text: str, name: str, *, most: int = MAX_TEXT) -> None:
    """Refuse what can be told to be too much without parsing it. `name`: what the text is called. `most`: characters.

    Raises:
        InputError: it is too long, or nested too deeply.
    """
    if len(text) > most:
        raise InputError(f"{name} has {len(text):,} characters; at most {most:,} are read")
    depth = 0
    for found in _BRACKET.finditer(text):
        if found[1]:
            depth += 1
            if depth > MAX_NESTING:
                raise InputError(f"{name} has more than {MAX_NESTING} brackets within each other; write it in less deep parts")
        elif found[2]:
            depth = max(depth - 1, 0)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1})


def parser() -> duckdb.DuckDBPyConnection:
    """A connection for `statements` and `deparse` where there is no other."""
    return _database().cursor()


def statements(con: duckdb.DuckDBPyConnection, text: str, *, placed: bool = False) -> list[Tree]:
    """The SELECT statements of a text, parsed and not bound. `placed`: an error says where in the text it is.

    Raises:
        InputError: it does not parse, or holds something other than SELECT.
    """
    if "\x00" in text:
        raise InputError("the SQL holds a NUL character")
    ((document,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    parsed = _loaded(document)
    if parsed.get("error"):
        message = str(parsed.get("error_message", "")).strip().splitlines()
        reason = message[0] if message else "it does not parse"
        if "Max expression depth" in reason:
            reason = TOO_DEEP
        if "SELECT statements" in reason:
            reason = "only SELECT is possible"
        raise InputError(f"SQL: {reason}{_place(text, parsed.get('position')) if placed else ''}")
    found: list[Tree] = parsed["statements"]
    return found


def _place(text: str, position: str | None) -> str:
    """Line and column, counted from 1, of a place that DuckDB tells as a number of bytes; nothing where it tells none."""
    if position is None or not position.isdecimal():
        return ""
    before = text.encode()[: int(position)].decode(errors="ignore")
    return f" (line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))})"


def _loaded(document: str) -> Any:
    try:
        return json.loads(document)
    except RecursionError:
        return _loaded_flat(document)


def _loaded_flat(document: str) -> Any:
    """The value of JSON that is nested more deeply than Python's own reader goes, by some fifty times the time."""
    stack: list[Any] = [[]]
    keys: list[str | None] = [None]

    def put(value: Any) -> None:
        holder, key = stack[-1], keys[-1]
        if isinstance(holder, list):
            holder.append(value)
        elif key is None:
            keys[-1] = value
        else:
            holder[key], keys[-1] = value, None

    for found in _TOKEN.finditer(document):
        token = found[0]
        if token in ("{", "["):
            made: Any = {} if token == "{" else []  # noqa: S105 - of JSON
            put(made)
            stack.append(made)
            keys.append(None)
        elif token in ("}", "]"):
            stack.pop()
            keys.pop()
        elif token not in (":", ","):
            put(json.loads(token))
    return stack[0][0]


def deparse(con: duckdb.DuckDBPyConnection, expression: Tree) -> str:
    """SQL text of an expression's tree, fully parenthesised, so that nothing can be hidden by quoting or comments."""
    statement = _template(con)
    statement["node"]["select_list"] = [expression]
    try:
        document = json.dumps({"error": False, "statements": [statement]})
    except RecursionError:
        raise InputError("the filter joins too many parts by one operator after the other; write it in less deep parts") from None
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
    found, left = [], [tree]
    while left:
        current = left.pop()
        if current.get("type") == "CONJUNCTION_AND":
            left.extend(reversed(current["children"]))
        else:
            found.append(current)
    return found


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
