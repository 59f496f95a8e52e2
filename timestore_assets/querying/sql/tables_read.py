"""What a SELECT reads, found out where it is parsed: small enough to go to another process, and all that planning needs.

Which columns of its datasets it can read is part of that, so that no more of an object has to be fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from timestore_assets.querying.planning import sql_words, syntax
from timestore_assets.querying.planning.syntax import Tree
from timestore_assets.querying.sql.check import Checked, check_sql
from timestore_assets.querying.sql.parameter_places import Parameter, parameters_of

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
        # the type of a constant, as in a sample's size, is a tree itself
        if str(node.get("type")) in _TABLES and "sample" in node:
            yield from (str(name).lower() for name in (node.get("alias"), node.get("table_name")) if name)


MAX_BYTES = 8_000_000
"""What a reading takes as JSON at most; a text can't say more than that within the bounds below."""
_MAX_COLUMNS, _MAX_OPERANDS = 10_000, 20_000
_TIMES = frozenset({"date", "timestamp", "datetime"})
_OPERANDS = {
    "COMPARE_EQUAL": ("left", "right"),
    "COMPARE_LESSTHAN": ("left", "right"),
    "COMPARE_LESSTHANOREQUALTO": ("left", "right"),
    "COMPARE_GREATERTHAN": ("left", "right"),
    "COMPARE_GREATERTHANOREQUALTO": ("left", "right"),
    "COMPARE_BETWEEN": ("input", "lower", "upper"),
    "COMPARE_IN": ("children",),
    "OPERATOR_IS_NULL": ("children",),
    "OPERATOR_IS_NOT_NULL": ("children",),
}
"""Conditions that say something about a column's values, by type, and where their operands are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A SELECT that is to be read."""

    text: str
    #: Names that it may read.
    datasets: tuple[str, ...]
    #: As `check_sql` takes them.
    columns: tuple[str, ...] = ()
    #: Values of what it writes as `$name` or `?`, None while they are not known.
    parameters: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filtered:
    """Simple conditions on a dataset, which it is called `name` in: trees of comparisons, with columns and constants alone."""

    name: str
    conditions: Sequence[Tree]


@dataclass(frozen=True, kw_only=True, slots=True)
class TablesRead:
    """What a text reads."""

    #: Names of those that are read, sorted.
    datasets: tuple[str, ...]
    #: As `columns_read`.
    columns: frozenset[str] | None
    #: By dataset, for those that are read in one place only.
    filters: Mapping[str, Filtered]
    #: It asks for names and types alone, so that no row has to be there.
    is_description: bool = False
    parameters: tuple[Parameter, ...] = ()
    #: The same rows always give the same answer.
    is_repeatable: bool = False

    def to_json(self) -> bytes:
        columns = None if self.columns is None else sorted(self.columns)
        filters = {dataset: [one.name, one.conditions] for dataset, one in self.filters.items()}
        parameters = [[one.name, one.column, one.type] for one in self.parameters]
        return json.dumps([self.datasets, columns, filters, self.is_description, parameters, self.is_repeatable]).encode()

    @classmethod
    def of_json(cls, data: bytes) -> TablesRead:
        datasets, columns, filters, is_description, parameters, is_repeatable = json.loads(data)
        return cls(
            datasets=tuple(datasets),
            columns=None if columns is None else frozenset(columns),
            filters={dataset: Filtered(name=name, conditions=conditions) for dataset, (name, conditions) in filters.items()},
            parameters=tuple(Parameter(name=name, column=column, type=kind) for name, column, kind in parameters),
            is_description=is_description,
            is_repeatable=is_repeatable,
        )


def read_sql(con: duckdb.DuckDBPyConnection, asked: Asked) -> TablesRead:
    """Parse and check a SELECT; nothing is opened or bound.

    Raises:
        InputError, RefusedError: as `check_sql`.
    """
    checked = check_sql(con, asked.text, datasets=asked.datasets, parameters=asked.parameters, columns=asked.columns)
    columns = columns_read(checked.statement)
    return TablesRead(
        datasets=tuple(sorted(checked.datasets)),
        columns=columns if columns is None or len(columns) <= _MAX_COLUMNS else None,
        filters={name: found for name in checked.datasets if (found := _filter(checked, name)) is not None},
        parameters=parameters_of(checked.statement) if checked.parameters else (),
        is_description=_is_description(checked.statement),
        is_repeatable=_is_repeatable(checked.statement),
    )


def _is_repeatable(statement: Tree) -> bool:
    """Whether a statement asks neither what time it is nor for anything by chance."""
    for node in syntax.nodes(statement):
        if node.get("sample"):
            return False
        if node.get("class") in ("FUNCTION", "WINDOW") and syntax.function_path(node)[-1] in sql_words.UNREPEATABLE:
            return False
        if node.get("class") == "COLUMN_REF" and str(node["column_names"][-1]).lower() in sql_words.KEYWORDS:
            return False
    return True


def _is_description(statement: Tree) -> bool:
    """Whether a statement is `DESCRIBE …` and nothing around it."""
    node = statement["node"]
    shown = node.get("from_table") or {}
    is_alone = node.get("type") == "SELECT_NODE" and not node.get("modifiers") and not node.get("where_clause")
    return bool(is_alone and shown.get("type") == "SHOW_REF" and shown.get("show_type") == "DESCRIBE")


def _filter(checked: Checked, dataset: str) -> Filtered | None:
    """What the statement's own WHERE says about a dataset, when it reads the dataset in one place and nothing beside it there."""
    selects = checked.selects[dataset]
    name, select = selects[0]
    if len(selects) != 1 or select is None or select.get("sample") or not select.get("where_clause"):
        return None
    found, left = [], _MAX_OPERANDS
    for part in syntax.conjuncts(select["where_clause"]):
        condition, size = _condition(part)
        left -= size
        if condition is not None and left >= 0:
            found.append(condition)
    return Filtered(name=name, conditions=found)


def _condition(tree: Tree) -> tuple[Tree | None, int]:
    """A simple condition without what nobody asks about, and how many operands it has; None for any other."""
    places = _OPERANDS.get(str(tree.get("type")))
    if places is None:
        return None, 0
    found: Tree = {"type": tree["type"]}
    size = 0
    for place in places:
        given = tree[place] if isinstance(tree[place], list) else [tree[place]]
        operands = [_operand(one) for one in given]
        if None in operands:
            return None, 0
        size += len(operands)
        found[place] = operands if isinstance(tree[place], list) else operands[0]
    return found, size


def _operand(node: Tree) -> Tree | None:
    """A column, a constant, a parameter, or a time as a constant; None for anything else."""
    kind = node.get("class")
    if kind == "COLUMN_REF":
        return {"class": kind, "column_names": node["column_names"]}
    if kind == "PARAMETER":
        return {"class": kind, "identifier": node["identifier"]}
    if kind == "CONSTANT":
        literal = node["literal"]
        return {"class": kind, "literal": {"kind": literal["kind"], "text": literal.get("text", "")}}
    if kind == "CAST" and node["child"].get("class") in ("CONSTANT", "PARAMETER"):
        name = str(node.get("type_expr", {}).get("type_name", ""))
        if name.lower() in _TIMES:
            return {"class": kind, "type_expr": {"type_name": name}, "child": _operand(node["child"])}
    return None
