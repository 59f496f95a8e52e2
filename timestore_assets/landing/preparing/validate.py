"""Constraints of the declaration, and a person's own pandera model, applied to typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.extras import needs
from timestore_assets.landing.preparing.plain_bounds import surely_holds
from timestore_assets.model.arrow_schema import arrow_type
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema


class Validator:
    """Validates batches of one dataset. Only constrained columns are looked at, so that others cost nothing.

    Making one raises MissingExtraError where there is something to check and pandera is not installed.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # nulls have been dealt with before, and the stored form of a column is no matter here
        self._constrained = [replace(column, nullable=True, origin="declared") for column in dataset.schema if column.checks]
        if self._constrained or dataset.pandera_model is not None:
            needs("checks", "pandera", "polars")
        self._made: dict[tuple[str, ...], DataFrameSchema] = {}

    def refuse_invalid(self, table: pa.Table, row_mask: RowMask) -> None:
        """Refuse good rows that break a constraint (`failed_check`), with column, value and check in the reason.

        `table`: typed columns, one row for each of the batch; missing ones are taken as null.
        """
        present = [column for column in self._constrained if column.name in table.column_names]
        holds = all(surely_holds(column, table.column(column.name)) for column in present)
        if not holds and row_mask.good_rows:
            self._run(self._checks(present), table.select([column.name for column in present]), row_mask)
        # a model of before the catalog's columns neither knows them nor may refuse what the newer one takes
        if self._dataset.pandera_model is not None and not self._dataset.is_behind and row_mask.good_rows:
            self._run(self._model(self._dataset.pandera_model), _whole(table, self._dataset.schema), row_mask)

    def _run(self, checks: DataFrameSchema, table: pa.Table, row_mask: RowMask) -> None:
        from timestore_assets.landing.preparing.pandera_checks import refuse_failing

        refuse_failing(checks, table, row_mask)

    def _checks(self, columns: Sequence[Column]) -> DataFrameSchema:
        names = tuple(column.name for column in columns)
        if names not in self._made:
            from timestore_assets.declaration.pandera_schema import pandera_schema

            self._made[names] = pandera_schema(Schema(columns=tuple(columns)))
        return self._made[names]

    def _model(self, dotted: str) -> DataFrameSchema:
        if (dotted,) not in self._made:
            from timestore_assets.declaration.pandera_schema import model_schema

            self._made[dotted,] = model_schema(dotted)
        return self._made[dotted,]


def _whole(table: pa.Table, schema: Schema) -> pa.Table:
    """The declared columns, those that the batch lacks as nulls: a person's model may ask for all of them."""
    for column in schema:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, arrow_type(column.type)))
    return table.select(list(schema.names))
