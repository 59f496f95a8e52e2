"""Which segments can't hold a row that a predicate lets through, by their statistics. Wherever something is unknown, they may.

From a condition's syntax tree counts what it says about a column: `column operator literal`, when it is of that kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from timestore_assets.catalog.effective_declaration import is_widening
from timestore_assets.catalog.key_ranges import KeyRange
from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.stored_columns import stored_as
from timestore_assets.model.types import ColumnType
from timestore_assets.model.window import parse_time
from timestore_assets.querying.planning import syntax
from timestore_assets.querying.planning.syntax import Tree

Operator = Literal["=", "<", "<=", ">", ">=", "in", "is_null", "is_not_null"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicate:
    """`column` op one of `values`, which every row of the answer fulfils.

    `values`: in the form of `comparable`; one for comparisons, several for `in`, none for the null tests.
    """

    column: str
    type: ColumnType
    operator: Operator
    values: tuple[Any, ...] = ()


def comparable(kind: ColumnType, value: Any) -> Any:
    """A bound from the statistics as a value that orders as DuckDB orders the column; None when there is no such value.

    `float` columns have none: a literal can be compared with them in either of two precisions.
    """
    if value is None or isinstance(value, bool) != (kind.kind == "bool"):
        return None
    try:
        convert = _CONVERT.get(kind.kind)
        return convert(value) if convert else None
    except (TypeError, ValueError, InvalidOperation):
        return None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _double(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int32": _integer,
    "int64": _integer,
    "double": _double,
    "decimal": lambda value: Decimal(str(value)),
    "string": _text,
    "date": lambda value: date.fromisoformat(value),
    "timestamp": lambda value: datetime.fromisoformat(value),
}


class StatsNames:
    """Under which names the statistics of segments know the columns of a schema. `schema_of`: schema of a version."""

    def __init__(self, schema: Schema, schema_of: Callable[[int], Schema]) -> None:
        self._schema, self._schema_of = schema, schema_of
        self._known: dict[tuple[int, str], str | None] = {}

    def of(self, version: int, name: str) -> str | None:
        """Of a column in segments of that version; None where what they know says nothing about its values."""
        key = version, name
        if key not in self._known:
            self._known[key] = self._find(version, name)
        return self._known[key]

    def _find(self, version: int, name: str) -> str | None:
        if version == self._schema.version:
            return name
        column = self._schema.column(name)
        written = stored_as(column, self._schema_of(version))
        # bounds of raw texts say nothing about the values that are read from them
        if written is None or written.origin != column.origin or not is_widening(written.type, column.type):
            return None
        return written.name


def key_ranges(predicates: Sequence[Predicate], schema_version: int) -> tuple[KeyRange, ...]:
    """What predicates say about texts, for the catalog to leave segments out by; of other types it would compare otherwise."""
    found = []
    for one in predicates:
        if one.type.kind != "string" or not one.values:
            continue
        low = None if one.operator in ("<", "<=") else min(one.values)
        high = None if one.operator in (">", ">=") else max(one.values)
        wanted = KeyRange(column=one.column, schema_version=schema_version, low=low, high=high)
        found += [wanted] if wanted.can_be_asked else []
    return tuple(found)


def is_decided_by(ranges: Sequence[KeyRange], predicates: Sequence[Predicate]) -> bool:
    """Whether their `key_ranges` say all that statistics of segments under that schema version could."""
    return len(ranges) == len(predicates) and all(one.operator in ("=", "<=", ">=") for one in predicates)


def may_match(segment: Segment, predicates: Sequence[Predicate], names: StatsNames) -> bool:
    """False when the statistics prove that no row of the segment fulfils all predicates."""
    if segment.format == "memory":
        return True
    return all(_may(one, _stats(segment, names.of(segment.schema_version, one.column)), segment.rows) for one in predicates)


def _stats(segment: Segment, name: str | None) -> ColumnStats | None:
    return None if name is None else segment.stats.get(name)


def _may(predicate: Predicate, stats: ColumnStats | None, rows: int) -> bool:
    if stats is None:
        return True
    if predicate.operator == "is_null":
        return stats.nulls > 0
    if stats.nulls >= rows:
        return False
    if predicate.operator == "is_not_null":
        return True
    low, high = comparable(predicate.type, stats.min), comparable(predicate.type, stats.max)
    return any(_within(predicate.operator, value, low, high) for value in predicate.values)


def _within(operator: Operator, value: Any, low: Any, high: Any) -> bool:
    """Whether `[low, high]`, open where None, holds something that stands in that relation to `value`."""
    match operator:
        case "<":
            return low is None or bool(low < value)
        case "<=":
            return low is None or bool(low <= value)
        case ">":
            return high is None or bool(high > value)
        case ">=":
            return high is None or bool(high >= value)
        case _:
            return (low is None or bool(low <= value)) and (high is None or bool(value <= high))


_OPERATORS: dict[str, Operator] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MIRRORED: dict[Operator, Operator] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
# beyond this many digits, or with an exponent, DuckDB compares as double, where neighbouring integers are equal
_EXACT = re.compile(r"-?\d{1,30}(\.\d{1,8})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def of_expression(tree: Tree, schema: Schema) -> tuple[Predicate, ...]:
    """What a condition says, `()` when it is not simple: a comparison with a literal, BETWEEN, IN, IS [NOT] NULL."""
    kind, children = tree.get("type"), tree.get("children") or []
    if kind in _OPERATORS:
        return _comparison(tree, _OPERATORS[str(kind)], schema)
    if kind == "COMPARE_BETWEEN":
        lower = _predicate(schema, tree["input"], ">=", [tree["lower"]])
        return lower + _predicate(schema, tree["input"], "<=", [tree["upper"]])
    if kind == "COMPARE_IN":
        return _predicate(schema, children[0], "in", children[1:])
    if kind == "OPERATOR_IS_NULL":
        return _predicate(schema, children[0], "is_null", [])
    if kind == "OPERATOR_IS_NOT_NULL":
        return _predicate(schema, children[0], "is_not_null", [])
    return ()


def _comparison(tree: Tree, operator: Operator, schema: Schema) -> tuple[Predicate, ...]:
    left, right = tree["left"], tree["right"]
    if left.get("class") == "COLUMN_REF":
        return _predicate(schema, left, operator, [right])
    return _predicate(schema, right, _MIRRORED[operator], [left])


def _predicate(schema: Schema, reference: Tree, operator: Operator, literals: list[Tree]) -> tuple[Predicate, ...]:
    column = _column(reference, schema)
    if column is None or (column.origin == "inferred" and column.type.kind != "string"):
        # statistics of an inferred column are those of its values' texts
        return ()
    values = [_value(column.type, literal) for literal in literals]
    if any(value is None for value in values):
        return ()
    return (Predicate(column=column.name, type=column.type, operator=operator, values=tuple(values)),)


def _column(node: Tree, schema: Schema) -> Column | None:
    if node.get("class") != "COLUMN_REF" or len(node["column_names"]) != 1:
        return None
    return schema.find(node["column_names"][0])


def _value(kind: ColumnType, node: Tree) -> Any:
    """The literal as a value comparable with the column's, None when DuckDB might compare it as another type."""
    found = syntax.constant(node)
    if found is None:
        return None
    form, text = found
    cast = str(node.get("type_expr", {}).get("type_name", "")).lower()
    if form == "STRING":
        return _from_text(kind, text, cast)
    if form == "BOOLEAN" and kind.kind == "bool":
        return text == "true"
    if form in ("INTEGER", "NUMERIC") and kind.is_numeric and _EXACT.fullmatch(text):
        return float(text) if kind.kind == "double" else None if kind.kind == "float" else Decimal(text)
    return None


def _from_text(kind: ColumnType, text: str, cast: str) -> Any:
    try:
        if kind.kind == "string" and not cast:
            return text
        if kind.kind == "date" and cast in ("", "date") and _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if kind.kind == "timestamp" and (cast != "date" or _DATE.fullmatch(text)):
            return datetime.fromisoformat(text) if not datetime.fromisoformat(text).tzinfo else None
    except ValueError:
        return None
    return None


def read_times(tree: Tree, schema: Schema) -> None:
    """Put every text that is compared with a timestamp column into UTC without a zone, in place.

    DuckDB's cast to TIMESTAMP would drop an offset silently, and so ask about another instant.

    Raises:
        InputError: such a text is no time.
    """
    for node in syntax.nodes(tree):
        for literal in _time_literals(node, schema):
            found = syntax.constant(literal)
            if found and found[0] == "STRING":
                inner = literal["child"] if literal.get("class") == "CAST" else literal
                inner["literal"]["text"] = _in_utc(found[1])


def _in_utc(text: str) -> str:
    try:
        return parse_time(text).replace(tzinfo=None).isoformat(sep=" ")
    except OverflowError:
        raise InputError(f"{text!r} is outside the years 1 to 9999 in UTC") from None


def _time_literals(node: Tree, schema: Schema) -> Iterator[Tree]:
    """Operands that are read as TIMESTAMP because of what they are compared with or cast to."""
    operands: list[Tree] = []
    if node.get("class") == "COMPARISON":
        operands = [node["left"], node["right"]]
    elif node.get("type") == "COMPARE_BETWEEN":
        operands = [node["input"], node["lower"], node["upper"]]
    elif node.get("type") == "COMPARE_IN":
        operands = node["children"]
    elif node.get("class") == "CAST" and syntax.function_path(node["type_expr"])[-1] in ("timestamp", "datetime"):
        operands = [node]
    columns = [_column(operand, schema) for operand in operands]
    if node.get("class") == "CAST" or any(column and column.type.kind == "timestamp" for column in columns):
        yield from (operand for operand in operands if _is_timestamp(operand))


def _is_timestamp(node: Tree) -> bool:
    return node.get("class") == "CONSTANT" or syntax.function_path(node.get("type_expr") or {})[-1] in ("timestamp", "datetime")
