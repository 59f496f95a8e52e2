"""The columns of a dataset, their constraints, and the hidden columns that carry a row's provenance.

Frozen values become plain JSON, and columns come back from it, for the catalog and the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from timestore_assets.model.types import ColumnType, duckdb_type, parse_type, quote
from timestore_assets.model.window import format_time

SOURCE_COLUMN = "__source"
"""int64: catalog id of the source partition (one file, one topic partition, …) a row came from."""
POSITION_COLUMN = "__position"
"""int64: the row's position in its source partition: byte offset, row index or broker offset."""
SESSION_COLUMN = "__session"
"""int64: catalog id of the landing session; rises with time, so (session, source, position) is arrival order."""
PROVENANCE_COLUMNS = (SOURCE_COLUMN, POSITION_COLUMN, SESSION_COLUMN)
"""Stored in every segment in this order after the visible columns; never in results, never in the content hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """Constraints on a column's non-null values; bounds are in the column's unit, lengths in characters.

    Bounds and choices of `timestamp` and `date` columns are ISO 8601 text (UTC), those of `decimal` columns decimal text.
    """

    isin: tuple[Any, ...] | None = None
    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    matches: str | None = None
    min_length: int | None = None
    max_length: int | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__slots__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column.

    `origin` is `declared`, or `inferred` for one that evolution found in the data. An inferred column is stored as the raw
    text of its values (VARCHAR) and read as `type`, so that widening its type never depends on how rows were batched.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    description: str = ""
    unit: str = ""
    allow_nan: bool = False
    checks: Checks = Checks()
    origin: Literal["declared", "inferred"] = "declared"

    @property
    def stored_type(self) -> str:
        """The DuckDB type of this column inside a segment."""
        return "VARCHAR" if self.origin == "inferred" else duckdb_type(self.type)

    @property
    def read_expression(self) -> str:
        """SQL that turns the stored column into a value of its declared or inferred type."""
        if self.origin == "inferred" and self.type.kind != "string":
            return f"try_cast({quote(self.name)} AS {duckdb_type(self.type)})"
        return quote(self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """Ordered columns at a version; versions count from 1 and only the catalog assigns them."""

    columns: tuple[Column, ...]
    version: int = 1

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def find(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def with_columns(self, *columns: Column) -> Schema:
        """A copy in which columns of the same name are replaced and others appended; the version stays."""
        changed = {column.name: column for column in columns}
        kept = tuple(changed.pop(column.name, column) for column in self.columns)
        return replace(self, columns=kept + tuple(changed.values()))


def to_plain(value: Any) -> Any:
    """Dataclasses to dicts, times to RFC 3339, durations to seconds, types to their declared text."""
    if isinstance(value, ColumnType):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def schema_to_plain(schema: Schema) -> list[dict[str, Any]]:
    """The columns of a schema as JSON values, defaults left out."""
    columns = []
    for column in schema:
        plain = {key: value for key, value in to_plain(column).items() if value not in ("", None, False)}
        plain["checks"] = {key: value for key, value in plain["checks"].items() if value is not None}
        columns.append({key: value for key, value in plain.items() if value != {}})
    return columns


def schema_from_plain(columns: list[dict[str, Any]], *, version: int) -> Schema:
    """The inverse of `schema_to_plain`."""
    return Schema(columns=tuple(_column(plain) for plain in columns), version=version)


def _column(plain: Mapping[str, Any]) -> Column:
    checks = dict(plain.get("checks", {}))
    if checks.get("isin") is not None:
        checks["isin"] = tuple(checks["isin"])
    rest = {key: value for key, value in plain.items() if key not in ("type", "checks")}
    return Column(type=parse_type(plain["type"]), checks=Checks(**checks), **rest)
