"""Pandera models as a person would write them, loaded by their dotted path in tests of landing."""

from __future__ import annotations

from datetime import datetime

import pandera.polars as pa
import polars as pl


class Observations(pa.DataFrameModel):
    ts: datetime
    station: str = pa.Field(str_matches="^[A-Z]+$")
    temp: float = pa.Field(nullable=True)
    n: int = pa.Field(nullable=True)

    @pa.check("temp")
    @classmethod
    def not_unlucky(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col(data.key) != 13)


class Paired(pa.DataFrameModel):
    ts: datetime
    station: str
    temp: float = pa.Field(nullable=True)

    @pa.dataframe_check
    @classmethod
    def even_number_of_rows(cls, data: pa.PolarsData) -> bool:
        return bool(data.lazyframe.select(pl.len()).collect().item() % 2 == 0)
