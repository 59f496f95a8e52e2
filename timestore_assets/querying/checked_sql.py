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
from timestore_assets.querying import functions, syntax
from timestore_assets.querying.names import suggestion
from timestore_assets.querying.syntax import Tree

MAX_TEXT = 100_000
NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})
_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "TABLE_FUNCTION", "PIVOT"})
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
_SESSION_WORDS = frozenset({"current_user", "session_user", "user", "current_role", "current_schema", "current_catalog"})
_OFFSET = re.compile(r"\s*\d{4,}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*[+-](?!00(:?00)?\s*$)\d\d(:?\d\d)?\s*")


@dataclass(slots=True)
class Checked:
    """`datasets`: names that are read, as declared. `selects`: by dataset, the SELECTs that read it and how they call it.

    `parameters`: names that stand for values.
    """

    datasets: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    selects: dict[str, list[tuple[str, Tree | None]]] = field(default_factory=lambda: defaultdict(list))


def check_sql(
    con: duckdb.DuckDBPyConnection, text: str, *, datasets: Collection[str], parameters: Mapping[str, Any] = NO_PARAMETERS
) -> Checked:
    """Check a text and find the datasets it reads. `parameters`: values of what it writes as `$name`.

    Raises:
        InputError: it is not exactly one statement that parses, names a table that there is not, or does not use exactly the
            parameters that are given.
        RefusedError: it asks for something other than reading datasets.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"SQL: the text has {len(text):,} characters; at most {MAX_TEXT:,} are read")
    try:
        found = syntax.statements(con, text)
    except InputError as error:
        if "only SELECT" in str(error):
            raise RefusedError("SQL: only one SELECT is possible here; data changes by `timestore land` and `build`") from None
        raise
    if len(found) != 1:
        raise InputError(f"SQL: exactly one SELECT is expected, here are {len(found) or 'none'}")
    walker = _Walker({name.lower(): name for name in datasets}, parameters)
    walker.visit(found[0], frozenset())
    if unused := sorted(parameters.keys() - walker.found.parameters):
        raise InputError(
            f"SQL: the parameter {_short(unused[0])} has a value and is not in the text; write ${unused[0][:60]} there"
        )
    return walker.found


class _Walker:
    """Visits a tree with the CTE names that can be seen at each place, as DuckDB resolves them."""

    def __init__(self, datasets: dict[str, str], parameters: Mapping[str, Any]) -> None:
        self.datasets, self.parameters, self.found = datasets, parameters, Checked()

    def visit(self, node: Any, seen: frozenset[str], select: Tree | None = None) -> None:
        if isinstance(node, list):
            for one in node:
                self.visit(one, seen)
        elif isinstance(node, dict):
            if "cte_map" in node:
                seen = self._with_ctes(node, seen)
            self._check(node, seen, select)
            for name, child in node.items():
                if name == "function" and node.get("type") == "TABLE_FUNCTION":
                    # it has been checked as a table; as an expression it may be something else
                    child = {key: value for key, value in child.items() if key != "class"}
                if name != "cte_map":
                    self.visit(child, seen, node if name == "from_table" else None)

    def _with_ctes(self, node: Tree, seen: frozenset[str]) -> frozenset[str]:
        """A CTE sees those before it; itself only when it is recursive, else its name still means what it did outside."""
        for entry in node["cte_map"]["map"]:
            name = frozenset({str(entry["key"]).lower()})
            query = entry["value"]["query_node"]
            self.visit(entry["value"], seen | name if query.get("type") == "RECURSIVE_CTE_NODE" else seen)
            seen |= name
        return seen

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
        if kind == "SHOW_REF":
            raise RefusedError("SQL: DESCRIBE, SHOW and SUMMARIZE are not available here; use `timestore describe` or `datasets`")
        if kind not in _TABLES:
            raise RefusedError("SQL: this kind of table is not available here")
        if kind == "TABLE_FUNCTION":
            name = syntax.function_path(node["function"])[-1]
            if name not in functions.TABLES:
                raise RefusedError(f"SQL: the table function {name}() is not available here; only datasets can be read")
        if kind == "BASE_TABLE":
            self._check_name(node, seen, select)

    def _check_name(self, node: Tree, seen: frozenset[str], select: Tree | None) -> None:
        path = [str(part) for part in node["qualified_name"]["path"]]
        shown = ".".join(path)
        if node.get("at_clause"):
            raise RefusedError("SQL: AT is not available here; `timestore query --as-of` answers from an older version")
        if len(path) > 1:
            raise RefusedError(f"SQL: {shown} is not available here; datasets are named without a schema")
        if path[0].lower() in seen:
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
            self._check_function(syntax.function_path(node)[-1], functions.SCALARS | functions.AGGREGATES)
        elif kind == "WINDOW":
            self._check_function(syntax.function_path(node)[-1], functions.WINDOWS)
        elif kind == "TYPE" and syntax.function_path(node)[-1] not in functions.TYPES:
            raise RefusedError(f"SQL: there is no type {_short(syntax.function_path(node)[-1])} here")
        elif kind == "COLLATE" and not set(str(node["collation"]).lower().split(".")) <= functions.COLLATIONS:
            raise RefusedError(f"SQL: the collation {_short(node['collation'])} is not available here")
        elif kind == "COLUMN_REF" and node["column_names"][-1].lower() in _SESSION_WORDS and len(node["column_names"]) == 1:
            raise RefusedError(
                f"SQL: {node['column_names'][0]} is not available here; put the table's name before a column of that name"
            )
        elif kind == "COMPARISON" or node.get("type") in ("COMPARE_BETWEEN", "COMPARE_IN"):
            _refuse_offsets(node, self.parameters)

    def _check_parameter(self, name: str) -> None:
        if name.isdigit():
            raise InputError("SQL: parameters have names here, for instance $start; ? and $1 are not possible")
        if name not in self.parameters:
            raise InputError(f"SQL: the parameter ${name[:60]} has no value here; give it one, or write the value in its place")
        self.found.parameters.add(name)

    def _check_function(self, name: str, allowed: Collection[str]) -> None:
        if name not in allowed:
            raise RefusedError(f"SQL: the function {_short(name)} is not available here")


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
