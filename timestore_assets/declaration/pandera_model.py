"""A person's own pandera model as the declaration of a dataset's columns, by their Polars types."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandera.polars as pa
import polars as pl
from polars._typing import PolarsDataType

from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import ColumnType, parse_type
from timestore_assets.model.window import format_time, utc

_SCALARS: dict[str, pl.DataType] = {
    "string": pl.String(),
    "bool": pl.Boolean(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "date": pl.Date(),
    "binary": pl.Binary(),
}
_KINDS: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Categorical: "string",
    pl.Enum: "string",
    pl.Boolean: "bool",
    pl.Int8: "int32",
    pl.Int16: "int32",
    pl.Int32: "int32",
    pl.UInt8: "int32",
    pl.UInt16: "int32",
    pl.UInt32: "int64",
    pl.Int64: "int64",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Date: "date",
    pl.Datetime: "timestamp",
    pl.Binary: "binary",
}
_WIDEST_DECIMAL = 38


def polars_type(kind: ColumnType, *, zone: str | None = "UTC") -> pl.DataType:
    """The Polars type of a column type. `zone`: of timestamps; None for the form inside segments."""
    if kind.kind == "timestamp":
        return pl.Datetime("us", zone)
    if kind.kind == "decimal":
        return pl.Decimal(kind.precision, kind.scale)
    if kind.item is not None:
        return pl.List(polars_type(kind.item, zone=zone))
    if kind.kind == "struct":
        return pl.Struct({name: polars_type(field, zone=zone) for name, field in kind.fields})
    return _SCALARS[kind.kind]


def column_type(given: PolarsDataType) -> ColumnType:
    """The narrowest column type that holds all values of a Polars type.

    Raises:
        DeclarationError: there is none; says what to use instead.
    """
    # Polars lets people write pl.Int64 for pl.Int64()
    found = given if isinstance(given, pl.DataType) else given()
    if isinstance(found, pl.Decimal):
        return ColumnType(kind="decimal", precision=found.precision or _WIDEST_DECIMAL, scale=found.scale)
    if isinstance(found, pl.List | pl.Array):
        return ColumnType(kind="list", item=column_type(found.inner))
    if isinstance(found, pl.Struct):
        fields = tuple((field.name, column_type(field.dtype)) for field in found.fields)
        return ColumnType(kind="struct", fields=fields)
    kind = _KINDS.get(type(found))
    if kind is None:
        raise DeclarationError(f"the type {found} can't be stored; use an integer, float, string, date or Datetime type")
    return parse_type(kind)


_KEY = "schema"
_BOUNDS = {
    "greater_than_or_equal_to": ("ge", "min_value"),
    "greater_than": ("gt", "min_value"),
    "less_than_or_equal_to": ("le", "max_value"),
    "less_than": ("lt", "max_value"),
}


def load_model(dotted: str) -> type[pa.DataFrameModel]:
    """The `pandera.polars.DataFrameModel` at a dotted path, such as `my_package.schemas.Weather`.

    Raises:
        DeclarationError: it can't be imported or is no such model; says why and what to write.
    """
    module_name, _, name = dotted.rpartition(".")
    if not module_name:
        raise DeclarationError(f"{dotted!r} is no dotted path; write for instance my_package.schemas.Weather", key=_KEY)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        problem = f"no module named {error.name!r} to load {dotted!r} from; install its package or add its folder to PYTHONPATH"
        raise DeclarationError(problem, key=_KEY) from None
    except Exception as error:  # a person's module may raise anything while it is imported
        raise DeclarationError(f"importing {module_name!r} failed: {type(error).__name__}: {error}", key=_KEY) from error
    model = getattr(module, name, None)
    if model is None:
        raise DeclarationError(f"module {module_name!r} has no {name!r}", key=_KEY)
    if not (isinstance(model, type) and issubclass(model, pa.DataFrameModel)):
        raise DeclarationError(f"{dotted!r} is no pandera.polars DataFrameModel; import it from pandera.polars", key=_KEY)
    return model


def columns_of_model(dotted: str) -> tuple[Column, ...]:
    """The columns a model declares, with types, nullability, descriptions and those checks that `Checks` can say.

    A field's metadata may hold `unit` (text) and `allow_nan` (bool). Checks of other kinds stay with the model, which
    validates as well.

    Raises:
        DeclarationError: as `load_model`, or a column has no type that can be stored.
    """
    try:
        found = load_model(dotted).to_schema().columns
    except pa.errors.SchemaInitError as error:
        raise DeclarationError(f"{dotted!r} is not a valid model: {error}", key=_KEY) from error
    if not found:
        raise DeclarationError(f"{dotted!r} has no columns; declare at least the time column", key=_KEY)
    return tuple(_column(name, column) for name, column in found.items())


def _column(name: str, found: pa.Column) -> Column:
    key = f"{_KEY}.{name}"
    if found.regex:
        raise DeclarationError("names columns by a regular expression; a dataset's columns have fixed names", key=key)
    if found.dtype is None:
        raise DeclarationError("has no type; annotate it with a Python or Polars type", key=key)
    try:
        kind = column_type(found.dtype.type)
    except DeclarationError as error:
        raise DeclarationError(error.problem, key=key) from None
    metadata: Mapping[str, Any] = found.metadata or {}
    return Column(
        name=name,
        type=kind,
        nullable=bool(found.nullable) or not found.required,
        description=found.description or "",
        unit=str(metadata.get("unit", "")),
        allow_nan=bool(metadata.get("allow_nan", False)),
        checks=_checks(found, kind),
    )


def _checks(found: pa.Column, kind: ColumnType) -> Checks:
    checks = Checks()
    if isinstance(found.dtype.type, pl.Enum):
        checks = replace(checks, isin=tuple(found.dtype.type.categories))
    for check in found.checks:
        checks = replace(checks, **_constraint(check.name or "", check.statistics or {}, kind))
    return checks


def _constraint(name: str, statistics: Mapping[str, Any], kind: ColumnType) -> dict[str, Any]:
    """One pandera check as fields of `Checks`; nothing for kinds that only the model can say."""
    if name in _BOUNDS:
        field, statistic = _BOUNDS[name]
        return {field: _plain(statistics[statistic], kind)}
    if name == "in_range":
        low = "ge" if statistics["include_min"] else "gt"
        high = "le" if statistics["include_max"] else "lt"
        return {low: _plain(statistics["min_value"], kind), high: _plain(statistics["max_value"], kind)}
    if name == "isin":
        return {"isin": tuple(_plain(value, kind) for value in statistics["allowed_values"])}
    if name == "equal_to":
        return {"isin": (_plain(statistics["value"], kind),)}
    if name == "str_matches":
        pattern = getattr(statistics["pattern"], "pattern", statistics["pattern"])
        # pandera anchors only the beginning, `Checks` both ends
        return {"matches": f"(?:{pattern})(?s:.*)"}
    if name == "str_length":
        exact = statistics.get("exact_value")
        if exact is not None:
            return {"min_length": exact, "max_length": exact}
        return {"min_length": statistics.get("min_value"), "max_length": statistics.get("max_value")}
    return {}


def _plain(value: Any, kind: ColumnType) -> Any:
    """A bound or choice in the JSON-able form that `Checks` holds."""
    if isinstance(value, datetime):
        return format_time(utc(value) if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z" if kind.kind == "timestamp" else value.isoformat()
    if isinstance(value, Decimal) or kind.kind == "decimal":
        return str(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else value
