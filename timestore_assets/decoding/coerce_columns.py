"""From raw values to typed ones, column by column, noting the rows whose raw value is no value of the column's type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.arrow_units import out_of_range_texts
from timestore_assets.decoding.coercion import describe, not_finite, value_of_text
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.model.record_form import Spelling
from timestore_assets.model.schema import Column
from timestore_assets.model.types import literal

_SHOWN = 60  # characters of a refused value that its reason quotes


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnCoercion:
    """A column to fill."""

    column: Column
    raw: pa.ChunkedArray
    #: SQL over the raw column `RAW`; None when the raw values already are the values.
    value: str | None = None
    #: How they are written, for the words of a refusal.
    spelling: Spelling | None = None
    #: In place of `value` where that finds none, since it takes unusual spellings too.
    otherwise: str | None = None
    #: The times to quote in a refusal, where the raw ones are in another unit.
    shown: pa.ChunkedArray | None = None


RAW = "raw_value"
"""What a coercion's SQL calls its raw column."""


def text_cell(column: Column, raw: pa.ChunkedArray, spelling: Spelling) -> ColumnCoercion:
    """A column to fill from texts."""
    if column.type.kind == "string":
        return ColumnCoercion(column=column, raw=raw)
    value, every = (value_of_text(RAW, column.type, spelling=spelling, usual=usual) for usual in (True, False))
    return ColumnCoercion(column=column, raw=raw, value=value, spelling=spelling, otherwise=every if every != value else None)


def coerce(con: duckdb.DuckDBPyConnection, cells: Sequence[ColumnCoercion], row_mask: RowMask) -> pa.Table:
    """The typed columns of the coercions, in their order, a row for each of the batch; bad rows are refused in the mask.

    Codes: `bad_value` for a value of another type, `non_finite` for NaN and infinities where `allow_nan` is not set. A row
    with several problems is refused for the first by kind, then by column.
    """
    values = [cell.raw for cell in cells]
    changing = [index for index, cell in enumerate(cells) if cell.value is not None]
    if changing:
        asked = [cells[index] for index in changing]
        coerced, bad = _run(con, asked)
        if bad is not None and any(cell.otherwise for cell in asked):
            coerced, bad = _run(con, [replace(cell, value=cell.otherwise or cell.value) for cell in asked])
        for place, index in enumerate(changing):
            values[index] = coerced[place]
            _refuse_bad(con, cells[index], bad, place, row_mask)
    table = pa.table(values, names=[cell.column.name for cell in cells])
    refuse_non_finite(con, [cell.column for cell in cells], table, row_mask)
    return table


def refuse_non_finite(con: duckdb.DuckDBPyConnection, columns: Sequence[Column], table: pa.Table, row_mask: RowMask) -> None:
    """Refuse rows with NaN or an infinity where a column does not allow it (`non_finite`). `table`: these columns, typed."""
    for column, value in zip(columns, table.columns, strict=True):
        _refuse_non_finite(con, column, value, row_mask)


def _run(con: duckdb.DuckDBPyConnection, cells: Sequence[ColumnCoercion]) -> tuple[list[pa.ChunkedArray], pa.ChunkedArray | None]:
    """Values of all columns and, unless no row has a bad one, the place of the first bad one in each row."""
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


def _named(cell: ColumnCoercion, index: int) -> str:
    return (cell.value or RAW).replace(RAW, f"r{index}")


def _refuse_bad(
    con: duckdb.DuckDBPyConnection, cell: ColumnCoercion, bad: pa.ChunkedArray | None, place: int, row_mask: RowMask
) -> None:
    if bad is None:
        return
    rows = _true_rows(pc.equal(bad, place))
    if len(rows):
        name = cell.column.name
        ending = f" is not {describe(cell.column.type, cell.spelling)}, as column {name} needs"
        refused = (cell.raw if cell.shown is None else cell.shown).take(pa.array(rows))
        if cell.shown is not None:
            refused = out_of_range_texts(refused)
        row_mask.refuse(rows, code="bad_value", column=name, reason=quoted(con, refused, ending))


def _refuse_non_finite(con: duckdb.DuckDBPyConnection, column: Column, values: pa.ChunkedArray, row_mask: RowMask) -> None:
    if column.allow_nan:
        return
    if column.type.is_float:
        finite = pc.is_finite(values)
        if pc.all(finite).as_py() is False:
            _refuse_as_non_finite(con, column, values, _true_rows(pc.invert(finite)), row_mask)
    elif test := not_finite("v", column.type):
        con.register("landing_raw", pa.table({"v": values}))
        rows = con.sql(f"SELECT coalesce({test}, false) FROM landing_raw").to_arrow_table().column(0)
        con.unregister("landing_raw")
        _refuse_as_non_finite(con, column, values, _true_rows(rows), row_mask)


def _refuse_as_non_finite(
    con: duckdb.DuckDBPyConnection, column: Column, values: pa.ChunkedArray, rows: Rows, row_mask: RowMask
) -> None:
    if len(rows):
        ending = f" is not finite; column {column.name} takes such values only with allow_nan"
        reason = quoted(con, values.take(pa.array(rows)), ending)
        row_mask.refuse(rows, code="non_finite", column=column.name, reason=reason)


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
