"""From raw values to typed ones, column by column, noting the rows whose raw value is no value of the column's type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.landing.coercion import describe, not_finite
from timestore_assets.landing.sieve import Rows, Sieve
from timestore_assets.model.schema import Column
from timestore_assets.model.types import literal

_SHOWN = 60  # characters of a refused value that its reason quotes


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A column to fill. `value`: SQL over the raw column `RAW`; None when the raw values already are the values."""

    column: Column
    raw: pa.ChunkedArray
    value: str | None = None


RAW = "raw_value"
"""What a cell's SQL calls its raw column."""


def coerce(con: duckdb.DuckDBPyConnection, cells: Sequence[Cell], sieve: Sieve) -> pa.Table:
    """The typed columns of the cells, in their order, a row for each of the batch; bad rows are refused in the sieve.

    Codes: `bad_value` for a value of another type, `non_finite` for NaN and infinities where `allow_nan` is not set. A row
    with several problems is refused for the first by kind, then by column.
    """
    values = [cell.raw for cell in cells]
    changing = [index for index, cell in enumerate(cells) if cell.value is not None]
    if changing:
        coerced, bad = _run(con, [cells[index] for index in changing])
        for place, index in enumerate(changing):
            values[index] = coerced[place]
            _refuse_bad(con, cells[index], bad, place, sieve)
    table = pa.table(values, names=[cell.column.name for cell in cells])
    refuse_non_finite(con, [cell.column for cell in cells], table, sieve)
    return table


def refuse_non_finite(con: duckdb.DuckDBPyConnection, columns: Sequence[Column], table: pa.Table, sieve: Sieve) -> None:
    """Refuse rows with NaN or an infinity where a column does not allow it (`non_finite`). `table`: these columns, typed."""
    for column, value in zip(columns, table.columns, strict=True):
        _refuse_non_finite(con, column, value, sieve)


def _run(con: duckdb.DuckDBPyConnection, cells: Sequence[Cell]) -> tuple[list[pa.ChunkedArray], pa.ChunkedArray | None]:
    """Values of all cells and, unless no row has a bad one, the place of the first bad cell of each row."""
    raw = pa.table([cell.raw for cell in cells], names=[f"r{index}" for index in range(len(cells))])
    inner = ", ".join(f"r{i}, {_named(cell, i)} AS v{i}" for i, cell in enumerate(cells))
    cases = " ".join(f"WHEN r{i} IS NOT NULL AND v{i} IS NULL THEN {i}" for i in range(len(cells)))
    outer = ", ".join(f"v{i}" for i in range(len(cells)))
    con.register("landing_raw", raw)
    try:
        found = con.sql(f"SELECT {outer}, CASE {cases} END AS bad FROM (SELECT {inner} FROM landing_raw)").to_arrow_table()
    finally:
        con.unregister("landing_raw")
    bad = found.column(len(cells))
    return found.columns[: len(cells)], None if bad.null_count == len(bad) else bad


def _named(cell: Cell, index: int) -> str:
    return (cell.value or RAW).replace(RAW, f"r{index}")


def _refuse_bad(con: duckdb.DuckDBPyConnection, cell: Cell, bad: pa.ChunkedArray | None, place: int, sieve: Sieve) -> None:
    if bad is None:
        return
    rows = _true_rows(pc.equal(bad, place))
    if len(rows):
        name = cell.column.name
        ending = f" is not {describe(cell.column.type)}, as column {name} needs"
        sieve.refuse(rows, code="bad_value", column=name, reason=quoted(con, cell.raw.take(pa.array(rows)), ending))


def _refuse_non_finite(con: duckdb.DuckDBPyConnection, column: Column, values: pa.ChunkedArray, sieve: Sieve) -> None:
    if column.allow_nan:
        return
    if column.type.is_float:
        finite = pc.is_finite(values)
        if pc.all(finite).as_py() is False:
            _refuse_as_non_finite(con, column, values, _true_rows(pc.invert(finite)), sieve)
    elif test := not_finite("v", column.type):
        con.register("landing_raw", pa.table({"v": values}))
        rows = con.sql(f"SELECT coalesce({test}, false) FROM landing_raw").to_arrow_table().column(0)
        con.unregister("landing_raw")
        _refuse_as_non_finite(con, column, values, _true_rows(rows), sieve)


def _refuse_as_non_finite(
    con: duckdb.DuckDBPyConnection, column: Column, values: pa.ChunkedArray, rows: Rows, sieve: Sieve
) -> None:
    if len(rows):
        ending = f" is not finite; column {column.name} takes such values only with allow_nan"
        reason = quoted(con, values.take(pa.array(rows)), ending)
        sieve.refuse(rows, code="non_finite", column=column.name, reason=reason)


def quoted(con: duckdb.DuckDBPyConnection, values: pa.ChunkedArray, ending: str) -> pa.Array:
    """A sentence for each value: its text, shortened, and the ending."""
    con.register("landing_raw", pa.table({"v": values}))
    text = "CAST(v AS VARCHAR)"
    shown = f"CASE WHEN length({text}) > {_SHOWN} THEN left({text}, {_SHOWN}) || '…' ELSE {text} END"
    sentence = f"""'"' || {shown} || '"' || {literal(ending)}"""
    try:
        found = con.sql(f"SELECT coalesce({sentence}, '') AS s FROM landing_raw").to_arrow_table()
    finally:
        con.unregister("landing_raw")
    return found.column(0).cast(pa.string()).combine_chunks()


def _true_rows(mask: pa.ChunkedArray) -> Rows:
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy())
