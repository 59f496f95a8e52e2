"""Frozen values to plain JSON and columns back again, for the catalog and the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import ColumnType, parse_type
from timestore_assets.model.window import format_time


def to_plain(value: Any) -> Any:
    """Dataclasses to dicts, times to RFC 3339, durations to seconds, types to their declared text."""
    if isinstance(value, ColumnType):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
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
