"""An answer as JSON, for programs without pyarrow: read in whole, and with Python's values where JSON has only text for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, Self

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time

JSON = "application/json"

_VALUES: dict[str, Callable[[Any], Any]] = {
    "timestamp": parse_time,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": lambda value: Decimal(str(value)),
    "binary": base64.b64decode,
}
"""By the type that a column has in the answer; all others are in JSON what they are in Python, or stay as JSON has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonAnswer:
    """`facts`: what the answer says about its rows, by the names that it has there."""

    facts: Mapping[str, Any]
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, document: bytes) -> Self:
        """The answer in a body; ValueError when it is none."""
        facts = json.loads(document)
        if not isinstance(facts, dict) or not isinstance(facts.get("rows"), list):
            raise ValueError("it has no rows")  # noqa: TRY004 - what is wrong is the value
        rows: list[dict[str, Any]] = facts.pop("rows")
        for column in facts.get("columns", ()):
            read = _VALUES.get(column["type"].partition("(")[0])
            if read is not None:
                _convert(rows, column["name"], read)
        return cls(facts=facts, rows=rows)


def _convert(rows: list[dict[str, Any]], name: str, read: Callable[[Any], Any]) -> None:
    for row in rows:
        value = row.get(name)
        if value is not None:
            row[name] = _read(value, read)


def _read(value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except (ValueError, InputError):
        return value  # an infinite time, or one beyond the year 9999
