"""Guess the types of columns that come as text, by landing's own rules, so that what is proposed also lands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from timestore_assets.decoding.coercion import value_of_text
from timestore_assets.model.record_form import POINT, NumberMarks, Spelling
from timestore_assets.model.types import BOOL, DOUBLE, INT64, STRING, TIMESTAMP, ColumnType, literal, quote

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A column as it could be declared."""

    name: str
    type: ColumnType | None
    """None when no declarable type fits all its values; evolution then keeps it as it comes."""
    missing: int = 0
    """Nulls in the sample."""
    tokens: int = 0
    """Values that are one of `null_tokens`, texts such as `NA` that often stand for null."""
    null_tokens: tuple[str, ...] = ()
    misfits: int = 0
    """Values that the type refuses (few; their records will be dead letters), `misfit` is one."""
    misfit: str = ""
    example: str = ""
    """Some value as text."""
    note: str = ""
    """A phrase."""

    @property
    def kind(self) -> str:
        """The type as it is written in a declaration; `mixed` when there is none."""
        return "mixed" if self.type is None else str(self.type)


def shortened(value: object) -> str:
    """A value as a text that fits into a table's cell."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


NULL_TOKENS = (
    *("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "Null", "null", "\\N", "None", "none", "nil", "missing"),
    *("-", "--", "?", "."),
)
TOLERATED_MISFITS = 0.01
"""Share of values that may not fit a type: one typing error must not make a column of numbers text."""
DATE = ColumnType(kind="date")
_KINDS = (BOOL, INT64, DOUBLE, DATE, TIMESTAMP)
_CODE = "[+-]?0[0-9]+"
"""Digits behind a zero belong to a code (007, 01234), which a number would lose."""


def guess_text_columns(con: duckdb.DuckDBPyConnection, table: str, names: list[str], marks: NumberMarks = POINT) -> list[Guess]:
    """Guesses for the text columns of a DuckDB table or view, in order; one pass over the data a column."""
    return [_guess(con, table, name, marks) for name in names]


def _guess(con: duckdb.DuckDBPyConnection, table: str, name: str, marks: NumberMarks) -> Guess:
    column, tokens = quote(name), ", ".join(map(literal, NULL_TOKENS))
    real = f"{column} IS NOT NULL AND {column} NOT IN ({tokens})"
    fits = ", ".join(f"count(*) FILTER ({real} AND {_fits(column, kind, marks)})" for kind in _KINDS)
    total, missing, seen, values, example, *counts = _row(
        con,
        f"""SELECT count(*), count(*) - count({column}),
                   coalesce(list_sort(list_distinct(list({column}) FILTER ({column} IN ({tokens})))), []),
                   count(*) FILTER ({real}), any_value({column}) FILTER ({real}), {fits} FROM {table}""",
    )
    guess = Guess(name=name, type=STRING, missing=missing, tokens=total - missing - values, null_tokens=tuple(seen))
    if total == missing:
        return replace(guess, note="always empty here")
    guess = replace(guess, example=shortened(example or seen[0]))
    position = _best(values, counts)
    if position is None:
        return guess
    kind = _KINDS[position]
    misfits = values - counts[position]
    if not misfits:
        return replace(guess, type=kind)
    (misfit,) = _row(con, f"SELECT any_value({column}) FROM {table} WHERE {real} AND NOT {_fits(column, kind, marks)}")
    return replace(guess, type=kind, misfits=misfits, misfit=shortened(misfit))


def _fits(column: str, kind: ColumnType, marks: NumberMarks) -> str:
    """SQL: landing takes the text for a value of the type, and nothing is lost by that."""
    value = value_of_text(column, kind, spelling=Spelling(marks=marks))
    if kind.is_float:
        return f"coalesce(isfinite({value}) AND NOT regexp_full_match({column}, '{_CODE}'), false)"
    if kind.is_integer:
        return f"(({value}) IS NOT NULL AND NOT regexp_full_match({column}, '{_CODE}'))"
    return f"(({value}) IS NOT NULL)"


def _best(values: int, counts: list[int]) -> int | None:
    """Position of the first type that fits everything, else of the best one that fits nearly everything."""
    for position, count in enumerate(counts):
        if values and count == values:
            return position
    position = max(range(len(counts)), key=counts.__getitem__)
    enough = values > 0 and values - counts[position] <= values * TOLERATED_MISFITS
    return position if enough else None


def _row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = con.execute(query).fetchone()
    return () if row is None else row
