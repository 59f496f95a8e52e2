"""A person's filter: checked on its syntax tree, then split into parts that the planner can judge one by one.

Other expressions over one row are checked here too, see `RowLanguage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import duckdb

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Schema
from timestore_assets.querying.planning import pruning, sql_words, syntax
from timestore_assets.querying.planning.column_names_in_sql import find_any, find_column
from timestore_assets.querying.planning.pruning import Predicate
from timestore_assets.querying.planning.sql_words import hinted
from timestore_assets.querying.planning.syntax import Tree

_CLASSES = frozenset(
    {"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CASE", "CAST", "FUNCTION", "TYPE", "COLLATE"}
)
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "LAMBDA": "a lambda",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column number",
    "DEFAULT": "DEFAULT",
}
_TICK = timedelta(microseconds=1)  # no time is finer
_MAX_TEXT = 2_000_000
"""Characters: lists of values and long texts among them make a filter long, not deep."""
_PARTS = ("modifiers", "group_expressions", "having", "qualify", "sample")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLanguage:
    """What an expression over the values of one row may hold, and how errors speak of it."""

    called: str
    """With its article."""
    example: str
    functions: frozenset[str]
    keywords: frozenset[str]
    """Words that are functions where no column has their name."""
    elsewhere: str = ""
    """What to do for what is not possible here."""
    many_rows: str = ""
    """What to do for aggregates."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why functions and keywords that filters have are not possible here."""


FILTER = RowLanguage(
    called="a filter",
    example="temp > 90",
    functions=sql_words.SCALARS,
    keywords=sql_words.KEYWORDS,
    elsewhere="; use `timestore sql` for such questions",
    many_rows="; use `timestore sql` with HAVING",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conjunct:
    """One of the conditions that are joined by AND. `sql`: rebuilt from the tree. `predicate`: what it says, if it is simple."""

    sql: str
    columns: frozenset[str]
    predicate: tuple[Predicate, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """A checked filter."""

    conjuncts: tuple[Conjunct, ...] = ()

    @property
    def columns(self) -> frozenset[str]:
        return frozenset[str]().union(*(conjunct.columns for conjunct in self.conjuncts))

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        return tuple(predicate for conjunct in self.conjuncts for predicate in conjunct.predicate)

    def conditions(self, *, only: frozenset[str] | None = None) -> list[str]:
        """SQL of the conditions; with `only` of those that use no other columns."""
        return [conjunct.sql for conjunct in self.conjuncts if only is None or conjunct.columns <= only]

    def bounds(self, time: str) -> tuple[datetime | None, datetime | None]:
        """The first and last time a row can have, both inclusive and aware, as far as the filter says."""
        lows, end_offsets = [], []
        for predicate in self.predicates:
            if predicate.column == time and predicate.values:
                first, last = min(predicate.values).replace(tzinfo=UTC), max(predicate.values).replace(tzinfo=UTC)
                if predicate.operator not in ("<", "<="):
                    lows.append(_moved(first, _TICK) if predicate.operator == ">" else first)
                if predicate.operator not in (">", ">="):
                    end_offsets.append(_moved(last, -_TICK) if predicate.operator == "<" else last)
        return max(lows, default=None), min(end_offsets, default=None)


def _moved(time: datetime, by: timedelta) -> datetime:
    try:
        return time + by
    except OverflowError:
        return time


def parse_where(con: duckdb.DuckDBPyConnection, text: str, schema: Schema, *, dataset: str) -> Where:
    """Check a SQL boolean expression over the columns of a dataset.

    Times written as text may carry an offset (UTC without one).

    Raises:
        InputError: it is no single expression, or uses an unknown column, a function or a construct that is not allowed.
    """
    tree = row_tree(con, text, schema, dataset=dataset)
    pruning.read_times(tree, schema)
    return Where(conjuncts=tuple(_conjunct(con, part, schema) for part in syntax.conjuncts(tree)))


def row_tree(con: duckdb.DuckDBPyConnection, text: str, schema: Schema, *, dataset: str, language: RowLanguage = FILTER) -> Tree:
    """The tree of one expression over the columns of a dataset, whose references have the columns' own spelling; not bound.

    Raises:
        InputError: as `parse_where`.
    """
    name = f"the {language.called.split(' ', 1)[1]}"
    if not text.strip():
        raise InputError(f"{name} is empty; write for instance {language.example}")
    syntax.refuse_bombs(text, name, most=_MAX_TEXT)
    with hinted(f"{dataset} {text}", [dataset], lambda _: schema.names):
        tree = _expression(con, text, name, language)
    for node in syntax.nodes(tree):
        _check(node, schema, dataset, language)
    return tree


def _expression(con: duckdb.DuckDBPyConnection, text: str, name: str, language: RowLanguage) -> Tree:
    try:
        # the line break ends a comment; what closes the parenthesis early shows in the tree below
        found = syntax.statements(con, f"SELECT 1 WHERE (\n{text}\n)")
    except InputError as error:
        reason = str(error).removeprefix("SQL: ")
        raise InputError(f"{name} {_short(text)} can't be read: {reason}; write for instance {language.example}") from None
    node = found[0]["node"] if len(found) == 1 else {}
    if node.get("type") != "SELECT_NODE" or not node.get("where_clause") or any(node.get(part) for part in _PARTS):
        example = "temp > 90 AND origin = 'JFK'" if language is FILTER else language.example
        raise InputError(f"{name} {_short(text)} is not one expression; write for instance {example}")
    expression: Tree = node["where_clause"]
    return expression


def _check(node: Tree, schema: Schema, dataset: str, language: RowLanguage) -> None:
    kind = node.get("class")
    if kind is None:
        if "select_list" in node or "from_table" in node:
            instead = "; filter a query of `timestore sql` instead" if language is FILTER else ""
            raise InputError(f"{language.called} can't hold a subquery{instead}")
        return
    if kind not in _CLASSES:
        raise InputError(f"{language.called} can't hold {_REFUSED.get(kind, kind.lower())}{language.elsewhere}")
    if kind == "COLUMN_REF":
        node["column_names"] = _resolved([str(part) for part in node["column_names"]], schema, dataset, language)
    elif kind == "FUNCTION":
        _check_function(syntax.function_path(node)[-1], language)
    elif kind == "TYPE" and syntax.function_path(node)[-1] not in sql_words.TYPES:
        raise InputError(f"there is no type {syntax.function_path(node)[-1]!r}")
    elif kind == "COLLATE" and not set(str(node["collation"]).lower().split(".")) <= sql_words.COLLATIONS:
        raise InputError(f"the collation {node['collation']!r} is not available")


def _check_function(name: str, language: RowLanguage) -> None:
    if name in sql_words.AGGREGATES and name not in sql_words.SCALARS:
        raise InputError(f"{name}() is over many rows and {language.called} looks at one{language.many_rows}")
    if name in language.refused:
        raise InputError(f"{language.called} can't hold {name}(): {language.refused[name]}")
    if name not in language.functions:
        raise InputError(f"the function {name}() is not available in {language.called}")


def _resolved(path: list[str], schema: Schema, dataset: str, language: RowLanguage) -> list[str]:
    """A reference with the column's own spelling; `dataset.column` and `column.field` are both understood."""
    if len(path) > 1 and path[0].lower() == dataset.lower() and schema.find(path[0]) is None:
        path = path[1:]
    if len(path) == 1 and path[0].lower() in language.keywords and schema.find(path[0]) is None:
        return path
    if len(path) == 1 and path[0].lower() in language.refused and find_any(schema, path[0]) is None:
        raise InputError(f"{language.called} can't hold {path[0].lower()}: {language.refused[path[0].lower()]}")
    return [find_column(schema, path[0], dataset=dataset).name, *path[1:]]


def _conjunct(con: duckdb.DuckDBPyConnection, tree: Tree, schema: Schema) -> Conjunct:
    used = {node["column_names"][0] for node in syntax.nodes(tree) if node.get("class") == "COLUMN_REF"}
    return Conjunct(
        sql=syntax.deparse(con, tree),
        columns=frozenset(used & set(schema.names)),
        predicate=pruning.of_expression(tree, schema),
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
