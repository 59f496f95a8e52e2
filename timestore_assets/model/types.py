"""The column types of a declaration, as values, and how they are written in YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

from timestore_assets.model.errors import DeclarationError

SCALARS = ("string", "bool", "int32", "int64", "float", "double", "date", "timestamp", "binary")
_DEEPEST = 32
_SHOWN = 100
"""Characters of an unknown type that an error repeats."""
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnType:
    """A type: `kind` is a scalar's name, `decimal`, `list` or `struct`.

    `timestamp` is microseconds in UTC; segments hold it without a zone, Arrow results carry `tz=UTC`.
    """

    kind: str
    precision: int = 0
    scale: int = 0
    item: ColumnType | None = None
    fields: tuple[tuple[str, ColumnType], ...] = ()

    def __str__(self) -> str:
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.kind == "list":
            return f"list<{self.item}>"
        if self.kind == "struct":
            return "struct<" + ", ".join(f"{name}: {kind}" for name, kind in self.fields) + ">"
        return self.kind

    @property
    def is_float(self) -> bool:
        return self.kind in ("float", "double")

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int32", "int64")

    @property
    def is_numeric(self) -> bool:
        return self.is_float or self.is_integer or self.kind == "decimal"

    @property
    def is_temporal(self) -> bool:
        return self.kind in ("date", "timestamp")

    @property
    def is_nested(self) -> bool:
        return self.kind in ("list", "struct")


def parse_type(text: str) -> ColumnType:
    """The type a declaration names, for instance `double`, `decimal(10,2)`, `list<int64>`, `struct<a: string>`.

    Raises:
        DeclarationError: the text names no type, or one that is nested too deeply.
    """
    text = text.strip()
    if text in SCALARS:
        return ColumnType(kind=text)
    if match := _DECIMAL.fullmatch(text):
        return _decimal(int(match[1]), int(match[2]))
    if _depth(text) > _DEEPEST:
        raise DeclarationError(f"is nested more than {_DEEPEST} deep")
    if text.startswith("list<") and text.endswith(">"):
        return ColumnType(kind="list", item=parse_type(text[5:-1]))
    if text.startswith("struct<") and text.endswith(">"):
        return _struct(text[7:-1])
    known = ", ".join((*SCALARS, "decimal(p,s)", "list<T>", "struct<name: T, …>"))
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    raise DeclarationError(f"unknown type {text!r}; write one of {known}")


def _decimal(precision: int, scale: int) -> ColumnType:
    if not 1 <= precision <= 38 or scale > precision:
        raise DeclarationError(f"decimal({precision},{scale}) is not possible; precision is 1 to 38, scale at most that")
    return ColumnType(kind="decimal", precision=precision, scale=scale)


def _struct(text: str) -> ColumnType:
    fields = []
    for part in _split_top_level(text):
        name, colon, kind = part.partition(":")
        if not colon or not name.strip():
            raise DeclarationError(f"struct field {part.strip()!r} is not of the form `name: type`")
        fields.append((name.strip(), parse_type(kind)))
    return ColumnType(kind="struct", fields=tuple(fields))


def _depth(text: str) -> int:
    return max(accumulate((char == "<") - (char == ">") for char in text), default=0)


def _split_top_level(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


STRING = ColumnType(kind="string")
BOOL = ColumnType(kind="bool")
INT64 = ColumnType(kind="int64")
DOUBLE = ColumnType(kind="double")
TIMESTAMP = ColumnType(kind="timestamp")

_DUCKDB = {
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "binary": "BLOB",
}


def duckdb_type(kind: ColumnType) -> str:
    """The DuckDB type that holds a column in a segment."""
    if kind.kind == "decimal":
        return f"DECIMAL({kind.precision},{kind.scale})"
    if kind.item is not None:
        return duckdb_type(kind.item) + "[]"
    if kind.kind == "struct":
        return "STRUCT(" + ", ".join(f"{quote(name)} {duckdb_type(field)}" for name, field in kind.fields) + ")"
    return _DUCKDB[kind.kind]


def quote(name: str) -> str:
    """A name as a quoted SQL identifier (DuckDB's and PostgreSQL's rule: double quotes are doubled)."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a quoted SQL string, for the few places (paths in COPY and ATTACH) where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"
