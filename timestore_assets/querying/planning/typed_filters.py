"""Conditions on columns as values, not text: each is checked against its column's type and written as a literal of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import literal, quote
from timestore_assets.model.window import parse_time
from timestore_assets.querying.planning.column_names_in_sql import find_column

Plain = bool | int | float | str
"""A truth value, a number or a text, as JSON has them."""


class AskedFilter(Protocol):
    """A condition on a column. `value`: for comparisons; `values`: for `in`, `notIn` and `between` (two, both inclusive)."""

    @property
    def column(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def value(self) -> Plain | None: ...
    @property
    def values(self) -> Sequence[Plain] | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedFilter:
    """Such a condition as a plain value."""

    column: str
    op: str
    value: Plain | None = None
    values: Sequence[Plain] | None = None


MOST_VALUES = 20_000
"""Of all filters of a question: each becomes some kilobytes while the filter is planned."""
_COMPARISONS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_TEXTS = {"contains": "contains", "startsWith": "starts_with"}
_NULLS = {"isNull": "IS NULL", "isNotNull": "IS NOT NULL"}
_LISTS = {"in": "IN", "notIn": "NOT IN"}
_KNOWN = (*_COMPARISONS, *_LISTS, "between", *_NULLS, *_TEXTS)
_DECIMAL = re.compile(r"[+-]?\d{1,38}(\.\d{1,37})?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_WHOLE = {"int32": 2**31, "int64": 2**63}


def where_of(filters: Sequence[AskedFilter], schema: Schema, *, dataset: str) -> str | None:
    """The condition that all filters make together, None without any.

    Raises:
        InputError: naming the column, when there is none of that name, or an operator or value does not suit its type; or
            there are too many values.
    """
    number = sum(len(one.values or ()) for one in filters)
    if number > MOST_VALUES:
        raise InputError(f"the filters hold {number:,} values in all; at most {MOST_VALUES:,} are possible")
    return " AND ".join(_condition(one, find_column(schema, one.column, dataset=dataset)) for one in filters) or None


def _condition(asked: AskedFilter, column: Column) -> str:
    name = quote(column.name)
    _check_shape(asked)
    if asked.op in _NULLS:
        return f"{name} {_NULLS[asked.op]}"
    if asked.op in _TEXTS and column.type.kind != "string":
        raise InputError(f"{asked.op} is for texts; {column.name!r} is a {column.type}")
    values = [_literal(one, column) for one in ([asked.value] if asked.values is None else asked.values) if one is not None]
    if asked.op in _COMPARISONS:
        return f"{name} {_COMPARISONS[asked.op]} {values[0]}"
    if asked.op in _TEXTS:
        return f"{_TEXTS[asked.op]}({name}, {values[0]})"
    if asked.op in _LISTS:
        return f"{name} {_LISTS[asked.op]} ({', '.join(values)})"
    return f"{name} BETWEEN {values[0]} AND {values[1]}"


def _check_shape(asked: AskedFilter) -> None:
    if asked.op not in _KNOWN:
        raise InputError(f"{asked.op!r} is no operator of a filter; there are {', '.join(_KNOWN)}")
    if asked.op in _NULLS:
        if asked.value is not None or asked.values is not None:
            raise InputError(f"{asked.op} of {asked.column!r} takes no value")
    elif asked.op in (*_LISTS, "between"):
        if asked.value is not None or not asked.values:
            raise InputError(f"{asked.op} of {asked.column!r} takes its operands in 'values', a list of at least one")
        if asked.op == "between" and len(asked.values) != 2:
            raise InputError(f"between of {asked.column!r} takes two values, the lowest and the highest")
    elif asked.value is None or asked.values is not None:
        raise InputError(f"{asked.op} of {asked.column!r} takes its operand in 'value'; isNull and isNotNull ask about null")


def _literal(value: Plain, column: Column) -> str:
    write = _LITERALS.get(column.type.kind)
    if write is None:
        raise InputError(f"{column.name!r} is a {column.type}, which can only be asked for isNull and isNotNull")
    text = write(value, column)
    if text is None:
        raise InputError(f"{column.name!r} is a {column.type}; {_shown(value)} is no value of that type")
    return text


def _shown(value: Plain) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _bool(value: Plain, _: Column) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None


def _whole(value: Plain, column: Column) -> str | None:
    bound = _WHOLE[column.type.kind]
    fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
    return str(value) if fits else None


def _float(value: Plain, _: Column) -> str | None:
    if isinstance(value, bool | str):
        return None
    try:
        return repr(float(value)) if isinstance(value, int) else repr(value)
    except OverflowError:
        return None


def _decimal(value: Plain, _: Column) -> str | None:
    text = value if isinstance(value, str) else "" if isinstance(value, bool) else format(Decimal(str(value)), "f")
    return text if _DECIMAL.fullmatch(text) and len(re.sub(r"\D", "", text)) <= 38 else None


def _text(value: Plain, _: Column) -> str | None:
    return literal(value) if isinstance(value, str) else None


def _date(value: Plain, _: Column) -> str | None:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        return f"DATE '{date.fromisoformat(value)}'"
    except ValueError:
        return None


def _timestamp(value: Plain, _: Column) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return f"TIMESTAMP '{parse_time(value).replace(tzinfo=None).isoformat(sep=' ')}'"
    except InputError:
        return None


_LITERALS: Mapping[str, Callable[[Plain, Column], str | None]] = {
    "bool": _bool,
    "int32": _whole,
    "int64": _whole,
    "float": _float,
    "double": _float,
    "decimal": _decimal,
    "string": _text,
    "date": _date,
    "timestamp": _timestamp,
}
