"""The parameters of a statement, and what their places say about the types of their values.

DuckDB itself says of each that its type is unknown, and drivers want to be told one before there is a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from timestore_assets.model.schema import Schema
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.planning.syntax import Tree

_COUNTS = ("limit", "offset")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """What a statement writes as `$name`, or as `?` (named by its place, from 1).

    `column`: that its value is compared with. `type`: that its value is cast to, as SQL names it. Both are empty where its place
    tells neither.
    """

    name: str
    column: str = ""
    type: str = ""


def parameters_of(statement: Tree) -> tuple[Parameter, ...]:
    """Each once: by number where they have numbers, else as the text writes them."""
    known: dict[str, Parameter] = {}
    starts: dict[str, int] = {}
    for node in syntax.nodes(statement):
        for one in _said(node):
            if one.name not in known or not (known[one.name].column or known[one.name].type):
                known[one.name] = one
        if node.get("class") == "PARAMETER":
            name, start = str(node["identifier"]), int(node.get("query_location") or 0)
            known.setdefault(name, Parameter(name=name))
            starts[name] = min(start, starts.get(name, start))
    return tuple(sorted(known.values(), key=lambda one: (int(one.name) if one.name.isdigit() else 0, starts.get(one.name, 0))))


def _said(node: Tree) -> Iterator[Parameter]:
    if node.get("class") == "CAST":
        yield from _each([node["child"]], type=str(node.get("type_expr", {}).get("type_name", "")))
    elif node.get("type") == "LIMIT_MODIFIER":
        yield from _each([node.get(name) for name in _COUNTS], type="bigint")
    elif node.get("class") == "COMPARISON" or node.get("type") in ("COMPARE_BETWEEN", "COMPARE_IN"):
        operands = [node.get(name) for name in ("left", "right", "input", "lower", "upper")] + list(node.get("children") or [])
        columns = [one["column_names"][-1] for one in operands if one and one.get("class") == "COLUMN_REF"]
        if columns:
            yield from _each(operands, column=str(columns[0]))


def _each(operands: list[Any], **said: str) -> Iterator[Parameter]:
    for one in operands:
        if one and one.get("class") == "PARAMETER":
            yield Parameter(name=str(one["identifier"]), **said)


_BY_NAME: dict[str, Any] = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "int", "int4", "int32", "bigint", "int8", "int64", "long", "hugeint"), 0),
    **dict.fromkeys(("double", "float", "real", "float4", "float8", "decimal", "numeric"), 0.0),
    **dict.fromkeys(("timestamp", "datetime", "timestamptz", "timestamp with time zone"), datetime(2000, 1, 1, tzinfo=UTC)),
    **dict.fromkeys(("bool", "boolean"), False),
    "date": date(2000, 1, 1),
}
"""By names of types in SQL and in declarations."""


def sample_of(parameter: Parameter, schemas: Sequence[Schema]) -> Any:
    """A value of the type that the parameter's place asks for: int, float, bool, date, datetime (naive and in UTC), else text.

    `schemas`: of the datasets that the statement reads.
    """
    name = parameter.type
    if parameter.column:
        columns = (column for schema in schemas for column in schema if column.name.lower() == parameter.column.lower())
        name = next((column.type.kind for column in columns), "")
    sample = _BY_NAME.get(name.lower(), "")
    return sample.replace(tzinfo=None) if isinstance(sample, datetime) else sample
