"""The pandera form of a schema, with the polars backend: it tells for each row of a frame which constraints it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pandera.polars as pa
import polars as pl

from timestore_assets.declaration.pandera_model import columns_of_model, load_model, polars_type
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import ColumnType
from timestore_assets.model.window import parse_time

__all__ = ["as_expected", "columns_of_model", "load_model", "model_schema", "pandera_schema"]


def pandera_schema(schema: Schema) -> pa.DataFrameSchema:
    """Types, nullability and checks of the declared columns; other columns of a frame are left alone.

    Frames have the logical types of `arrow_schema`: timestamps in microseconds with `tz=UTC` (see `as_expected`). NaN and
    infinity are not refused here; landing decides on them before, by `allow_nan`.

    Raises:
        DeclarationError: a `matches` is no regular expression that Polars can run.
    """
    declared = [column for column in schema if column.origin == "declared"]
    return pa.DataFrameSchema({column.name: _column(column) for column in declared}, strict=False, coerce=False)


def model_schema(dotted: str) -> pa.DataFrameSchema:
    """The schema of a person's own pandera model, made to ignore columns that evolution added. Errors as `load_model`."""
    schema = load_model(dotted).to_schema()
    schema.strict = False
    return schema


def as_expected(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.DataFrame:
    """The frame with its columns cast to the types that a schema asks for, timestamps to its zone and unit among them."""
    wanted = {name: column.dtype.type for name, column in schema.columns.items() if column.dtype and name in frame.columns}
    casts = [_cast(name, frame.schema[name], kind) for name, kind in wanted.items() if frame.schema[name] != kind]
    return frame.with_columns(casts)


def _cast(name: str, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(found, pl.Datetime) and isinstance(wanted, pl.Datetime):
        # without a zone a time here is in UTC
        in_utc = column.dt.replace_time_zone("UTC") if found.time_zone is None else column
        zoned = in_utc.dt.convert_time_zone(wanted.time_zone or "UTC")
        column = zoned if wanted.time_zone else zoned.dt.replace_time_zone(None)
    return column.cast(wanted)


def _column(column: Column) -> pa.Column:
    try:
        checks = list(_checks(column))
    except pl.exceptions.ComputeError as error:
        problem = f"can't be used: {str(error).splitlines()[-1].strip()}; look-around and back-references are not possible"
        raise DeclarationError(problem, key=f"columns.{column.name}.matches") from None
    return pa.Column(polars_type(column.type), checks, nullable=column.nullable)


def _checks(column: Column) -> Iterator[pa.Check]:
    checks, kind = column.checks, column.type
    if checks.isin is not None:
        # by way of the column's type, because 0.1 is not among the values of a 32-bit float
        allowed = pl.Series([_value(value, kind) for value in checks.isin], dtype=polars_type(kind))
        yield pa.Check.isin(allowed.to_list())
    for name in ("ge", "gt", "le", "lt"):
        bound = getattr(checks, name)
        if bound is not None:
            yield getattr(pa.Check, name)(_value(bound, kind))
    if checks.matches is not None:
        yield _whole_match(checks.matches)
    if checks.min_length is not None or checks.max_length is not None:
        yield pa.Check.str_length(checks.min_length, checks.max_length)


def _whole_match(pattern: str) -> pa.Check:
    """Pandera's own `str_matches` anchors only the beginning. Polars' `$` is the very end, no newline is let pass before it."""
    whole = f"^(?:{pattern})$"
    pl.Series([""]).str.contains(whole)
    return pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key).str.contains(whole)),
        name="str_matches",
        error=f"str_matches({pattern!r})",
    )


def _value(value: Any, kind: ColumnType) -> Any:
    """A bound or choice, from the form that `Checks` holds it in, as Polars compares it."""
    if kind.kind == "timestamp":
        return parse_time(value)
    if kind.kind == "date":
        return date.fromisoformat(value)
    if kind.kind == "decimal":
        return Decimal(str(value))
    if kind.is_float:
        return float(value)  # a list of whole and other numbers is none that Polars takes
    return value.encode() if kind.kind == "binary" and isinstance(value, str) else value
