"""Which columns of its datasets a SELECT can read: so that no more of an object has to be fetched."""

from __future__ import annotations

from collections.abc import Iterator

from timestore_assets.querying import syntax
from timestore_assets.querying.syntax import Tree

_TABLES = frozenset({"BASE_TABLE", "SUBQUERY", "TABLE_FUNCTION", "EXPRESSION_LIST"})


def columns_read(statement: Tree) -> frozenset[str] | None:
    """Names in lower case, of columns or of other things, among which is every column that the statement reads of any table.

    None when that can't be told: it has a star, takes a whole row as a value, renames the columns of a table, or the like.
    """
    found: set[str] = set()
    tables = set(_table_names(statement))
    for node in syntax.nodes(statement):
        if node.get("class") == "STAR" or node.get("type") == "PIVOT" or node.get("ref_type") == "NATURAL":
            return None
        if node.get("type") == "BASE_TABLE" and node.get("column_name_alias"):
            return None
        if node.get("class") == "COLUMN_REF":
            names = [str(name).lower() for name in node["column_names"]]
            if len(names) == 1 and names[0] in tables:
                return None
            found.update(names)
        found.update(str(name).lower() for name in node.get("using_columns", ()))
    return frozenset(found)


def _table_names(statement: Tree) -> Iterator[str]:
    """What a lone name could mean besides a column: tables, their aliases, and CTEs, by which a row is one value."""
    for node in syntax.nodes(statement):
        if node.get("type") in _TABLES and "sample" in node:
            yield from (str(name).lower() for name in (node.get("alias"), node.get("table_name")) if name)
