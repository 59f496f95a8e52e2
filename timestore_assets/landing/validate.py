"""Constraints of the declaration, and a person's own pandera model, applied to typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa
from pandera.errors import SchemaErrors
from pandera.polars import DataFrameSchema

from timestore_assets.landing.sieve import Rows, Sieve
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.pandera_schema import as_expected, model_schema, pandera_schema
from timestore_assets.model.schema import Column, Schema

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


class Validator:
    """Validates batches of one dataset. Only constrained columns are looked at, so that others cost nothing."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # nulls have been dealt with before, and the stored form of a column is no matter here
        self._constrained = [replace(column, nullable=True, origin="declared") for column in dataset.schema if column.checks]
        self._made: dict[tuple[str, ...], DataFrameSchema] = {}

    def refuse_invalid(self, table: pa.Table, sieve: Sieve) -> None:
        """Refuse good rows that break a constraint (`failed_check`), with column, value and check in the reason.

        `table`: typed columns, one row for each of the batch; missing ones are taken as null.
        """
        present = [column for column in self._constrained if column.name in table.column_names]
        if present and sieve.good_rows:
            _run(self._checks(present), table.select([column.name for column in present]), sieve)
        if self._dataset.pandera_model is not None and sieve.good_rows:
            _run(self._model(self._dataset.pandera_model), _whole(table, self._dataset.schema), sieve)

    def _checks(self, columns: Sequence[Column]) -> DataFrameSchema:
        names = tuple(column.name for column in columns)
        if names not in self._made:
            self._made[names] = pandera_schema(Schema(columns=tuple(columns)))
        return self._made[names]

    def _model(self, dotted: str) -> DataFrameSchema:
        if (dotted,) not in self._made:
            self._made[dotted,] = model_schema(dotted)
        return self._made[dotted,]


def _run(checks: DataFrameSchema, table: pa.Table, sieve: Sieve) -> None:
    """Validate slice by slice; a check on a whole frame that fails refuses every row of its slice."""
    rows = None if sieve.all_good else sieve.good_indices()
    table = sieve.keep(table)
    for start in range(0, table.num_rows, _ROWS_A_TIME):
        frame = cast(pl.DataFrame, pl.from_arrow(table.slice(start, _ROWS_A_TIME)))
        failures = _failures(checks, as_expected(frame, checks))
        if failures is not None:
            at = failures["row"].to_numpy() + start
            _refuse(failures, at if rows is None else rows[at], sieve)


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


def _refuse(failures: pl.DataFrame, rows: Rows, sieve: Sieve) -> None:
    table = failures.to_arrow()
    count = len(rows)
    columns = [
        pa.array(rows, pa.int64()),
        pa.repeat(pa.scalar("failed_check", pa.string()), count),
        table.column("column").cast(pa.string()),
        table.column("reason").cast(pa.string()),
    ]
    sieve.refuse_each(pa.table(columns, names=["row", "code", "column", "reason"]))


def _whole(table: pa.Table, schema: Schema) -> pa.Table:
    """The declared columns, those that the batch lacks as nulls: a person's model may ask for all of them."""
    for column in schema:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, arrow_type(column.type)))
    return table.select(list(schema.names))
