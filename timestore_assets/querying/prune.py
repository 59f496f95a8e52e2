"""Which segments can't hold a row that a predicate lets through, by their statistics. Wherever something is unknown, they may."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.types import ColumnType

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


def may_match(segment: Segment, predicates: Sequence[Predicate]) -> bool:
    """False when the statistics prove that no row of the segment fulfils all predicates."""
    return all(_may(predicate, segment.stats.get(predicate.column), segment.rows) for predicate in predicates)


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
