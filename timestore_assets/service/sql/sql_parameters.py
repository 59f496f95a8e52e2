"""Values for what SQL writes as `$name`, checked against the types they should have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time
from timestore_assets.service.answers.answer_facts import CamelCaseModel
from timestore_assets.service.json_bodies import Plain

Kind = Literal["string", "int", "double", "bool", "timestamp", "date"]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class TypedValue(CamelCaseModel):
    """A value with its type, for what JSON has no form of its own for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"type": "timestamp", "value": "2024-01-01T00:00:00Z"}]}
    )

    type: Kind
    value: Plain | None = None


Given = TypedValue | Plain | None
"""A text, number, truth value or null as it is, or with its type."""


def values_of(given: Mapping[str, Given]) -> dict[str, Any]:
    """What is bound to the parameters; times are naive and in UTC.

    Raises:
        InputError: naming the parameter whose value is not of its type.
    """
    return {name: _value(name, one) for name, one in given.items()}


def typed_value(name: str, kind: Kind, value: Plain | None) -> Any:
    """The value of a parameter of that type, null always being one; InputError when it is none."""
    if value is None:
        return None
    try:
        found = _CHECKS[kind](value)
    except (InputError, ValueError, OverflowError):
        found = None
    if found is None:
        raise InputError(f"the parameter {name!r} is a {kind}; {_shown(value)} is no value of that type")
    return found


def _value(name: str, given: Given) -> Any:
    if isinstance(given, TypedValue):
        return typed_value(name, given.type, given.value)
    if given is None or isinstance(given, bool):
        return given
    return typed_value(name, "int" if isinstance(given, int) else "double" if isinstance(given, float) else "string", given)


def _string(value: Plain) -> str | None:
    return value if isinstance(value, str) and "\x00" not in value else None


def _int(value: Plain) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else None


def _double(value: Plain) -> float | None:
    if isinstance(value, bool | str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _bool(value: Plain) -> bool | None:
    return value if isinstance(value, bool) else None


def _timestamp(value: Plain) -> Any:
    return parse_time(value).replace(tzinfo=None) if isinstance(value, str) else None


def _date(value: Plain) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) and _DATE.fullmatch(value) else None


_CHECKS: Mapping[Kind, Callable[[Plain], Any]] = {
    "string": _string,
    "int": _int,
    "double": _double,
    "bool": _bool,
    "timestamp": _timestamp,
    "date": _date,
}


def _shown(value: Plain) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
