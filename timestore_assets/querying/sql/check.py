"""Is this SQL one SELECT that touches nothing but datasets? Decided on its syntax tree, before anything is opened.

What is not known to be harmless is refused: kinds of statements, tables, expressions, functions and types are all lists of what
is allowed. The connection that runs it afterwards is locked as well (`sandbox`), so that a mistake here is not the only wall.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import duckdb

from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.querying.planning import sql_words, syntax
from timestore_assets.querying.planning.column_names_in_sql import suggestion
from timestore_assets.querying.planning.sql_words import SESSION
from timestore_assets.querying.planning.syntax import Tree
from timestore_assets.querying.sql.statement_forms import hint

SCHEMA = "main"
"""What tools that want one write before a dataset's name."""
NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})
_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION", "PIVOT", "SHOW_REF"})
_SHOWN = frozenset({"DESCRIBE", "SUMMARY"})
"""What may be shown of a query that is checked as any other."""
_EXPRESSIONS = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "OPERATOR",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    }
)
_OFFSET = re.compile(r"\s*\d{4,}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*[+-](?!00(:?00)?\s*$)\d\d(:?\d\d)?\s*")


@dataclass(slots=True)
class Checked:
    """A text that may run."""

    #: The SELECT's tree.
    statement: Tree
    #: Names that are read, as declared.
    datasets: set[str] = field(default_factory=set)
    #: Names that stand for values.
    parameters: set[str] = field(default_factory=set)
    #: By dataset, the SELECTs that read it and how they call it.
    selects: dict[str, list[tuple[str, Tree | None]]] = field(default_factory=lambda: defaultdict(list))


def check_sql(
    con: duckdb.DuckDBPyConnection,
    text: str,
    *,
    datasets: Collection[str],
    parameters: Mapping[str, Any] | None = NO_PARAMETERS,
    columns: Collection[str] = (),
) -> Checked:
    """Check a text and find the datasets it reads.

    `parameters`: values of what it writes as `$name` or `?`, None while they are not known. `columns`: of the words that else
    tell about the session, those that are names of columns here.

    Raises:
        InputError: it is not exactly one statement that parses, names a table that there is not, or does not use exactly the
            parameters that are given.
        RefusedError: it asks for something other than reading datasets.
    """
    syntax.refuse_bombs(text, "SQL: the text")
    try:
        found = syntax.statements(con, text, placed=True)
    except InputError as error:
        if "only SELECT" in str(error):
            why = hint(text) or "data changes by `timestore land` and `build`"
            raise RefusedError(f"SQL: only one SELECT is possible here; {why}") from None
        raise
    if len(found) != 1:
        raise InputError(f"SQL: exactly one SELECT is expected, here are {len(found) or 'none'}")
    refused = SESSION - _aliases(found[0]) - set(columns)
    walker = _Walker(found[0], {name.lower(): name for name in datasets}, parameters, refused)
    walker.visit_all()
    if unused := sorted((parameters or {}).keys() - walker.found.parameters):
        raise InputError(
            f"SQL: the parameter {_short(unused[0])} has a value and is not in the text; write ${unused[0][:60]} there"
        )
    return walker.found


class _Walker:
    """Visits a tree with the CTE names that can be seen at each place, as DuckDB resolves them."""

    def __init__(
        self, statement: Tree, datasets: dict[str, str], parameters: Mapping[str, Any] | None, refused: Collection[str]
    ) -> None:
        self.datasets, self.parameters, self.refused = datasets, parameters, refused
        self.found = Checked(statement=statement)
        # what is still to be visited, the next one last: trees are deeper than Python calls may be
        self._left: list[tuple[Any, frozenset[str], Tree | None]] = [(statement, frozenset(), None)]

    def visit_all(self) -> None:
        """Check every node, outer ones and earlier ones first."""
        while self._left:
            node, seen, select = self._left.pop()
            if isinstance(node, list):
                self._left.extend((one, seen, None) for one in reversed(node))
            elif isinstance(node, dict):
                self._visit(node, seen, select)

    def _visit(self, node: Tree, seen: frozenset[str], select: Tree | None) -> None:
        queries: list[tuple[Any, frozenset[str], Tree | None]] = []
        if "cte_map" in node:
            queries, seen = _ctes(node, seen)
        self._check(node, seen, select)
        if node.get("type") == "SHOW_REF":
            # what is shown is bound by itself: were a CTE not seen there, its name would mean something else
            seen = frozenset()
        children: list[tuple[Any, frozenset[str], Tree | None]] = []
        for name, child in node.items():
            if name == "function" and node.get("type") == "TABLE_FUNCTION":
                # it has been checked as a table; as an expression it may be something else
                child = {key: value for key, value in child.items() if key != "class"}
            if name != "cte_map":
                children.append((child, seen, node if name == "from_table" else None))
        self._left.extend(reversed(queries + children))

    def _check(self, node: Tree, seen: frozenset[str], select: Tree | None) -> None:
        kind = str(node.get("type", ""))
        if "class" in node:
            self._check_expression(node)
        elif kind.endswith("_NODE"):
            if kind not in _QUERIES:
                raise RefusedError("SQL: only reading is possible here; data changes by `timestore land` and `build`")
        elif "alias" in node and "sample" in node:
            self._check_table(node, kind, seen, select)

    def _check_table(self, node: Tree, kind: str, seen: frozenset[str], select: Tree | None) -> None:
        if kind == "SHOW_REF" and not (node.get("show_type") in _SHOWN and node.get("query")):
            raise RefusedError(
                "SQL: of what can be shown there are SHOW TABLES, DESCRIBE x and SUMMARIZE x here, x a dataset or a SELECT"
            )
        if kind not in _TABLES:
            raise RefusedError("SQL: this kind of table is not available here")
        if kind == "TABLE_FUNCTION":
            name = syntax.function_path(node["function"])[-1]
            if name not in sql_words.TABLES:
                raise RefusedError(f"SQL: the table function {name}() is not available here; only datasets can be read")
        if kind == "BASE_TABLE":
            self._check_name(node, seen, select)

    def _check_name(self, node: Tree, seen: frozenset[str], select: Tree | None) -> None:
        path = [str(part) for part in node["qualified_name"]["path"]]
        shown = ".".join(path)
        if node.get("at_clause"):
            raise RefusedError("SQL: AT is not available here; --as-of (asOf over HTTP) answers from an older version")
        if len(path) == 2 and path[0].lower() == SCHEMA:
            path = path[1:]  # as SQL tools write it; no CTE is meant then
        elif len(path) > 1:
            raise RefusedError(f"SQL: {shown} is not available here; datasets are named without a schema")
        elif path[0].lower() in seen:
            return
        dataset = self.datasets.get(path[0].lower())
        if dataset is None:
            raise InputError(f"SQL: there is no dataset {_short(path[0])}; {suggestion(path[0], sorted(self.datasets.values()))}")
        self.found.datasets.add(dataset)
        self.found.selects[dataset].append((str(node.get("alias") or dataset), None if node.get("sample") else select))

    def _check_expression(self, node: Tree) -> None:
        kind = node["class"]
        if kind == "PARAMETER":
            self._check_parameter(str(node.get("identifier", "")))
        elif kind not in _EXPRESSIONS:
            raise RefusedError(f"SQL: {kind.lower()} is not available here")
        elif kind == "FUNCTION":
            self._check_function(syntax.function_path(node)[-1], sql_words.SCALARS | sql_words.AGGREGATES)
        elif kind == "WINDOW":
            self._check_function(syntax.function_path(node)[-1], sql_words.WINDOWS)
        elif kind == "TYPE" and syntax.function_path(node)[-1] not in sql_words.TYPES:
            raise RefusedError(f"SQL: there is no type {_short(syntax.function_path(node)[-1])} here")
        elif kind == "COLLATE" and not set(str(node["collation"]).lower().split(".")) <= sql_words.COLLATIONS:
            raise RefusedError(f"SQL: the collation {_short(node['collation'])} is not available here")
        elif kind == "COLUMN_REF" and len(node["column_names"]) == 1 and node["column_names"][0].lower() in self.refused:
            raise RefusedError(f"SQL: {node['column_names'][0]} is not available here, and no dataset has a column of that name")
        elif kind == "COMPARISON" or node.get("type") in ("COMPARE_BETWEEN", "COMPARE_IN"):
            _refuse_offsets(node, self.parameters or NO_PARAMETERS)

    def _check_parameter(self, name: str) -> None:
        if self.parameters is not None and name not in self.parameters:
            if name.isdigit():
                raise InputError("SQL: ? and $1 have no value here; where values go by name, parameters have names: $start")
            raise InputError(f"SQL: the parameter ${name[:60]} has no value here; give it one, or write the value in its place")
        self.found.parameters.add(name)

    def _check_function(self, name: str, allowed: Collection[str]) -> None:
        if name not in allowed:
            raise RefusedError(f"SQL: the function {_short(name)} is not available here")


def _ctes(node: Tree, seen: frozenset[str]) -> tuple[list[tuple[Any, frozenset[str], Tree | None]], frozenset[str]]:
    """The CTEs of a query, each with those it sees, and what can be seen behind them.

    One sees those before it; itself only when it is recursive, else its name still means what it did outside.
    """
    found: list[tuple[Any, frozenset[str], Tree | None]] = []
    for entry in node["cte_map"]["map"]:
        name = frozenset({str(entry["key"]).lower()})
        query = entry["value"]["query_node"]
        found.append((entry["value"], seen | name if query.get("type") == "RECURSIVE_CTE_NODE" else seen, None))
        seen |= name
    return found, seen


def _aliases(tree: Tree) -> frozenset[str]:
    """Names that a statement gives to columns of its own, in lower case."""
    found = (
        name
        for node in syntax.nodes(tree)
        for name in (node.get("alias"), *(node.get("column_name_alias") or ()), *(node.get("aliases") or ()))
    )
    return frozenset(str(name).lower() for name in found if name)


def is_decided_by_values(parameters: Mapping[str, Any]) -> bool:
    """Whether the check of a text with these parameters depends on more than their names."""
    return any(isinstance(value, str) and _OFFSET.fullmatch(value) for value in parameters.values())


def _refuse_offsets(node: Tree, parameters: Mapping[str, Any]) -> None:
    """A time with an offset as plain text: DuckDB would read it as TIMESTAMP, drop the offset and ask about another instant."""
    operands = [node.get(name) for name in ("left", "right", "input", "lower", "upper")] + list(node.get("children") or [])
    for operand in operands:
        found = syntax.constant(operand) if operand else None
        if found and found[0] == "STRING" and _OFFSET.fullmatch(found[1]):
            raise InputError(f"SQL: the offset of {found[1]!r} would be ignored; write TIMESTAMPTZ {found[1]!r}")
        value = parameters.get(str(operand.get("identifier"))) if operand and operand.get("class") == "PARAMETER" else None
        if isinstance(value, str) and _OFFSET.fullmatch(value):
            raise InputError(f"SQL: the offset of {value!r} would be ignored; give the parameter the type timestamp")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
