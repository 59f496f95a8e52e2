"""The columns of a dataset, their constraints, and the hidden columns that carry a row's provenance.

Frozen values become plain JSON, and columns come back from it, for the catalog and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from timestore_assets.model.types import ColumnType, duckdb_type, parse_type, quote
from timestore_assets.model.window import format_time, parse_time

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
class ColumnDefault:
    """What a declaration gives to rows without a value of a column: one `value`, or an `expression` over the row's others.

    The value is written as `Checks` writes bounds. A row for which the expression can't be computed stays without one.
    """

    value: bool | int | float | str | None = None
    expression: str | None = None

    def __str__(self) -> str:
        return f"default: {self.value}" if self.expression is None else f"expression: {self.expression}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerName:
    """A name that a column had: producers of before may send it `until` a time, for ever when it is None."""

    name: str
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a column ended. `version`: of the schema that shows it no more. `by`: id of the column that took its place."""

    version: int
    by: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column.

    `origin` is `declared`, or `inferred` for one that evolution found in the data. An inferred column is stored as the raw
    text of its values (VARCHAR) and read as `type`, so that widening its type never depends on how rows were batched.

    `id` stays the same for as long as the column lives, whatever it is called; 0 until the catalog has given it one.
    `aliases`: names that it had. `expression`: DuckDB SQL for its values in rows that were stored before it was there, over
    columns by id (`"#4"`). `default`: what is declared for rows without a value, of before and to come; the expression
    says the same by ids.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    description: str = ""
    unit: str = ""
    allow_nan: bool = False
    checks: Checks = Checks()
    origin: Literal["declared", "inferred"] = "declared"
    default: ColumnDefault | None = None
    # how a column came to be is no part of what it is: declarations, which know nothing of it, are compared with schemas
    id: int = field(default=0, compare=False)
    aliases: tuple[FormerName, ...] = field(default=(), compare=False)
    expression: str | None = field(default=None, compare=False)

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
    """Ordered columns at a version; versions count from 1 and only the catalog assigns them.

    `retired`: columns that earlier versions had. Rows of theirs still hold them, expressions read them, and what producers send
    under their names is left out, unless something is computed of it. `incoming`: version whose names records go by; None for
    this one. `endings`: of retired columns by id, of those that were retired since this is kept.
    """

    columns: tuple[Column, ...]
    version: int = 1
    retired: tuple[Column, ...] = field(default=(), compare=False)
    incoming: int | None = field(default=None, compare=False)
    endings: Mapping[int, Ending] = field(default_factory=dict, compare=False)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def find(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def ids(self) -> dict[str, int]:
        """Ids by name, of the columns that have one."""
        return {column.name: column.id for column in self.columns if column.id}

    @property
    def was_migrated(self) -> bool:
        """Whether some of its columns were called otherwise, or are not shown any more."""
        return bool(self.retired) or any(column.aliases or column.expression for column in self.columns)

    @property
    def retired_names(self) -> frozenset[str]:
        """Names that columns had which are not shown any more, and that no column has now."""
        return frozenset(column.name for column in self.retired).difference(self.names)

    @property
    def former_names(self) -> Mapping[str, Column]:
        """Columns by the names that they had before and that no column has now."""
        shown = set(self.names)
        return {one.name: column for column in self.columns for one in column.aliases if one.name not in shown}

    def by_id(self, column_id: int) -> Column | None:
        """The column of that id, shown or retired; None when there is none."""
        return next((column for column in (*self.columns, *self.retired) if column.id == column_id), None)

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


_REFERENCE = re.compile(r'"#(\d+)"')


def references(expression: str) -> list[int]:
    """Ids of the columns that an expression may read, each once; one that only a text in it names counts too."""
    return list(dict.fromkeys(int(found) for found in _REFERENCE.findall(expression)))


def to_plain(value: Any) -> Any:
    """Dataclasses to dicts, times to RFC 3339, durations to seconds, types to their declared text."""
    if isinstance(value, ColumnType):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_plain(getattr(value, one.name)) for one in fields(value)}
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
    """The columns of a schema as JSON values, defaults left out, as is how they came to be (`identities_to_plain`)."""
    return [column_to_plain(column) for column in schema]


def column_to_plain(column: Column) -> dict[str, Any]:
    """What a column is, as JSON values, without its identity."""
    plain = {key: value for key, value in to_plain(column).items() if value not in ("", None, False) and key not in _IDENTITY}
    for key in ("checks", "default"):
        plain[key] = {name: value for name, value in plain.get(key, {}).items() if value is not None}
    return {key: value for key, value in plain.items() if value != {}}


_IDENTITY = ("id", "aliases", "expression")


def identities_to_plain(schema: Schema) -> dict[str, Any]:
    """Of a schema what is no part of a declaration: ids, former names and expressions by column name, retired columns whole.

    Apart from the columns, so that processes of before there were any can read those.
    """
    identities = {
        "columns": {column.name: _identity(column) for column in schema},
        "retired": [{**column_to_plain(column), **_identity(column)} for column in schema.retired],
        "incoming": schema.incoming,
        # beside the retired columns, which processes of before this was kept read whole
        "endings": {str(number): [one.version, one.by] for number, one in sorted(schema.endings.items())},
    }
    return {key: value for key, value in identities.items() if value}


def _identity(column: Column) -> dict[str, Any]:
    return {key: value for key in _IDENTITY if (value := to_plain(getattr(column, key)))}


def schema_from_plain(columns: list[dict[str, Any]], *, version: int, identities: Mapping[str, Any] | None = None) -> Schema:
    """The inverse of `schema_to_plain` and `identities_to_plain`."""
    known = identities or {}
    of = known.get("columns", {})
    return Schema(
        columns=tuple(_column({**plain, **of.get(plain["name"], {})}) for plain in columns),
        version=version,
        retired=tuple(_column(plain) for plain in known.get("retired", ())),
        incoming=known.get("incoming"),
        endings={int(number): Ending(version=one[0], by=one[1]) for number, one in known.get("endings", {}).items()},
    )


def _column(plain: Mapping[str, Any]) -> Column:
    checks = dict(plain.get("checks", {}))
    if checks.get("isin") is not None:
        checks["isin"] = tuple(checks["isin"])
    aliases = tuple(FormerName(name=one["name"], until=_time(one.get("until"))) for one in plain.get("aliases", ()))
    rest = {key: value for key, value in plain.items() if key not in ("type", "checks", "aliases", "default")}
    return Column(type=parse_type(plain["type"]), checks=Checks(**checks), aliases=aliases, default=default_of(plain), **rest)


def default_of(plain: Mapping[str, Any]) -> ColumnDefault | None:
    """The default of a column, of JSON values."""
    return ColumnDefault(**plain["default"]) if plain.get("default") else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
