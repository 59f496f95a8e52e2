"""Aggregates: which fit a column, their SQL, and what they give."""

from __future__ import annotations

from datetime import timedelta

from timestore_assets.model.errors import InputError
from timestore_assets.model.question import FUNCTIONS, Aggregate, Every, Function, Months
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import ColumnType, quote
from timestore_assets.querying.planning.column_names_in_sql import find_column

_ARITHMETIC: frozenset[Function] = frozenset({"avg", "sum", "median", "stddev", "percentile"})
_ORDERED: frozenset[Function] = frozenset({"min", "max"})
_KEEPS_UNIT = _ARITHMETIC | _ORDERED | {"first", "last"}
# date_trunc takes two thirds of time_bucket's time, and both agree on these
_TRUNCATED = {
    timedelta(seconds=1): "second",
    timedelta(minutes=1): "minute",
    timedelta(hours=1): "hour",
    timedelta(days=1): "day",
    timedelta(weeks=1): "week",
}


def resolve(aggregate: Aggregate, schema: Schema, *, dataset: str) -> Column | None:
    """The column an aggregate is over, None for a count of rows.

    Raises:
        InputError: there is no such column, or the function makes no sense of its type.
    """
    if aggregate.column is None:
        return None
    column = find_column(schema, aggregate.column, dataset=dataset)
    if not _fits(aggregate.fn, column.type):
        fitting = ", ".join(fn for fn in FUNCTIONS if _fits(fn, column.type))
        raise InputError(f"{aggregate.fn} of {column.name!r} is not possible, it is a {column.type}; possible are {fitting}")
    return column


def _fits(fn: Function, kind: ColumnType) -> bool:
    if fn in _ARITHMETIC:
        return kind.is_numeric or (kind.kind == "bool" and fn in ("avg", "sum"))
    return fn not in _ORDERED or not kind.is_nested


def aggregate_sql(aggregate: Aggregate, column: Column | None, *, time: str) -> str:
    """SQL of the figure over the rows of one bucket and group.

    Of rows with the same time, `first` takes the smallest value and `last` the largest, so that the answer does not depend on
    how rows are stored.
    """
    if column is None:
        return "count(*)"
    value, moment = quote(column.name), quote(time)
    number = f"CAST({value} AS {'INTEGER' if column.type.kind == 'bool' else 'DOUBLE'})"
    match aggregate.fn:
        case "count":
            return f"count({value})"
        case "count_distinct":
            return f"count(DISTINCT {value})"
        case "first" | "last":
            pick = "arg_min" if aggregate.fn == "first" else "arg_max"
            return f"{pick}({value}, row({moment}, {value})) FILTER (WHERE {value} IS NOT NULL)"
        case "median":
            return f"quantile_cont({number}, 0.5)"
        case "stddev":
            return f"stddev_samp({number})"
        case "percentile":
            return f"quantile_cont({number}, {(aggregate.percentile or 0.0) / 100!r})"
        case "sum" if column.type.is_integer or column.type.kind == "bool":
            return f"CAST(sum({number if column.type.kind == 'bool' else value}) AS BIGINT)"
        case "avg":
            return f"avg({number if column.type.kind == 'bool' else value})"
        case _:
            return f"{aggregate.fn}({value})"


def unit(aggregate: Aggregate, column: Column | None) -> str:
    """Unit of the figure."""
    return column.unit if column is not None and aggregate.fn in _KEEPS_UNIT else ""


def is_number(aggregate: Aggregate, column: Column | None) -> bool:
    """Whether the figure is a number."""
    counts = aggregate.fn in ("count", "count_distinct")
    return counts or aggregate.fn in _ARITHMETIC or (column is not None and column.type.is_numeric)


def bucket_sql(every: Every, moment: str) -> str:
    """SQL for the start of the bucket that a moment, itself SQL, falls into."""
    if isinstance(every, Months):
        return f"time_bucket(to_months({every.number}), {moment})"
    if isinstance(every, str):
        return f"date_trunc('{every}', {moment})"
    if every in _TRUNCATED:
        return f"date_trunc('{_TRUNCATED[every]}', {moment})"
    return f"time_bucket(to_microseconds({every // timedelta(microseconds=1)}), {moment})"
