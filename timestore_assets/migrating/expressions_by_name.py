"""Expressions that a declaration has for columns, followed through a migration: it names columns as they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from timestore_assets.migrating.row_expressions import EXPRESSION
from timestore_assets.model.schema import Schema
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.planning.where import row_tree


def followed(
    con: duckdb.DuckDBPyConnection, plain: Mapping[str, Any], before: Schema, now: Mapping[int, str], *, dataset: str
) -> tuple[dict[str, Any], str]:
    """A declared column as a definition has it, with its expression by the names that columns have now.

    Args:
        now: names by id.

    Returns it without the expression, and the name of a column that is gone, where it names one: records that land from then on
    can't be computed.
    """
    text = (plain.get("default") or {}).get("expression")
    if text is None or set(before.ids.items()) <= {(name, number) for number, name in now.items()}:
        return dict(plain), ""
    tree = row_tree(con, text, before, dataset=dataset, language=EXPRESSION)
    for node in syntax.nodes(tree):
        if node.get("class") == "COLUMN_REF":
            name, *path = node["column_names"]
            if (called := now.get(before.column(name).id)) is None:
                return {key: value for key, value in plain.items() if key != "default"}, name
            node["column_names"] = [called, *path]
    return {**plain, "default": {"expression": syntax.deparse(con, tree)}}, ""
