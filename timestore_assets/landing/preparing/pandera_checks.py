"""Runs pandera over typed columns and says for each row that fails what is wrong with it; imported where a dataset has checks."""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa
from pandera.errors import SchemaErrors
from pandera.polars import DataFrameSchema

from timestore_assets.declaration.pandera_schema import as_expected
from timestore_assets.decoding.rejections import RowMask, Rows

_ROWS_A_TIME = 1_000_000
"""Rows validated at once: what failed is held as text, which may be every value of every row."""
_SHOWN = 60
_SIGNS = {
    "greater_than_or_equal_to": "ge",
    "greater_than": "gt",
    "less_than_or_equal_to": "le",
    "less_than": "lt",
    "str_matches": "matches",
    "str_length": "length",
}


def refuse_failing(checks: DataFrameSchema, table: pa.Table, row_mask: RowMask) -> None:
    """Validate slice by slice; a check on a whole frame that fails refuses every row of its slice."""
    rows = None if row_mask.all_good else row_mask.good_indices()
    table = row_mask.keep(table)
    for start in range(0, table.num_rows, _ROWS_A_TIME):
        frame = cast(pl.DataFrame, pl.from_arrow(table.slice(start, _ROWS_A_TIME)))
        failures = _failures(checks, as_expected(frame, checks))
        if failures is not None:
            at = failures["row"].to_numpy() + start
            _refuse(failures, at if rows is None else rows[at], row_mask)


def _failures(checks: DataFrameSchema, frame: pl.DataFrame) -> pl.DataFrame | None:
    """Columns `row`, `column`, `reason` of what failed, the first failure of each row; None when nothing did."""
    try:
        checks.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
    else:
        return None
    on_rows = cases.drop_nulls("index").select(pl.col("index").cast(pl.Int64).alias("row"), "column", _sentence().alias("reason"))
    on_frame = cases.filter(pl.col("index").is_null())
    if on_frame.height:
        check = on_frame["check"][0]
        reason = f"the records it was read with fail the check {check} on the whole frame"
        every_row = pl.DataFrame({"row": np.arange(frame.height), "column": "", "reason": reason})
        on_rows = pl.concat([on_rows, every_row])
    return on_rows.unique("row", keep="first", maintain_order=True)


def _sentence() -> pl.Expr:
    """Column, value and check of a failure case, in words."""
    text = pl.col("failure_case").cast(pl.String)
    value = pl.when(text.str.len_chars() > _SHOWN).then(text.str.slice(0, _SHOWN) + "…").otherwise(text)
    names = [f"{name}(" for name in _SIGNS]
    check = pl.col("check").str.replace_many(names, [f"{sign}(" for sign in _SIGNS.values()])
    return pl.format('"{}" in column {} fails the check {}', value.fill_null("null"), pl.col("column"), check)


def _refuse(failures: pl.DataFrame, rows: Rows, row_mask: RowMask) -> None:
    table = failures.to_arrow()
    count = len(rows)
    columns = [
        pa.array(rows, pa.int64()),
        pa.repeat(pa.scalar("failed_check", pa.string()), count),
        table.column("column").cast(pa.string()),
        table.column("reason").cast(pa.string()),
    ]
    row_mask.refuse_each(pa.table(columns, names=["row", "code", "column", "reason"]))
