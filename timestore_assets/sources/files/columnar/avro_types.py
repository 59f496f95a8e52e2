"""Avro's types as Arrow's, and values that fastavro read without logical types as arrays of those."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

_PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    **{f"timestamp-{name}": pa.timestamp(unit, "UTC") for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))},
    **{f"local-timestamp-{name}": pa.timestamp(unit) for name, unit in (("millis", "ms"), ("micros", "us"), ("nanos", "ns"))},
}
_MOST_DIGITS = 76

Named = dict[str, Any]


def arrow_schema_of(declared: Any) -> pa.Schema:
    """The columns of a file's schema.

    Raises:
        ValueError: it is no record, or holds itself.
    """
    if not isinstance(declared, Mapping) or declared.get("type") != "record":
        raise ValueError("its schema is no record")
    named: Named = {}
    kind = _arrow_type(declared, named, ())
    return pa.schema(list(kind))


def without_logical_types(declared: Any) -> Any:
    """The same schema, its values being read as they are stored."""
    if isinstance(declared, list):
        return [without_logical_types(branch) for branch in declared]
    if isinstance(declared, Mapping):
        kept = {name: value for name, value in declared.items() if name not in ("logicalType", "default")}
        return {name: _inner(name, value) for name, value in kept.items()}
    return declared


def _inner(name: str, value: Any) -> Any:
    if name == "fields":
        return [without_logical_types(entry) for entry in value]
    return without_logical_types(value) if name in ("type", "items", "values") else value


def _arrow_type(declared: Any, named: Named, inside: tuple[str, ...]) -> pa.DataType:
    if isinstance(declared, list):
        branches = [branch for branch in declared if branch != "null"]
        # values of several types are kept as texts
        return _arrow_type(branches[0], named, inside) if len(branches) == 1 else pa.string() if branches else pa.null()
    if isinstance(declared, str):
        if declared in _PLAIN:
            return _PLAIN[declared]
        short = declared.rpartition(".")[2]
        if declared in inside or short in inside:
            raise ValueError(f"its type {declared} holds itself")
        known = named.get(declared, named.get(short))
        if known is None:
            raise ValueError(f"its type {declared} is not declared")
        return known
    kind, logical = declared["type"], declared.get("logicalType")
    if logical in _LOGICAL and kind in ("int", "long"):
        return _LOGICAL[logical]
    if logical == "decimal" and kind in ("bytes", "fixed"):
        return _named(declared, _decimal_type(declared), named)
    if kind == "record":
        name = declared.get("name", "")
        fields = [(entry["name"], _arrow_type(entry["type"], named, (*inside, name))) for entry in declared["fields"]]
        return _named(declared, pa.struct(fields), named)
    if kind == "enum":
        return _named(declared, pa.string(), named)
    if kind == "fixed":
        return _named(declared, pa.binary(), named)
    if kind == "array":
        return pa.list_(_arrow_type(declared["items"], named, inside))
    if kind == "map":
        return pa.map_(pa.string(), _arrow_type(declared["values"], named, inside))
    return _arrow_type(kind, named, inside)


def _named(declared: Mapping[str, Any], kind: pa.DataType, named: Named) -> pa.DataType:
    if name := declared.get("name"):
        named[name] = named[name.rpartition(".")[2]] = kind
    return kind


def _decimal_type(declared: Mapping[str, Any]) -> pa.DataType:
    precision, scale = int(declared["precision"]), int(declared.get("scale", 0))
    if not 0 < precision <= _MOST_DIGITS:
        return pa.string()
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def arrow_values(values: Sequence[Any], kind: pa.DataType, declared: Any) -> pa.Array[Any]:
    """Values of one column as an array."""
    scale = _scale(declared)
    if pt.is_string(kind):
        texts = [_text(value, scale) for value in values]
        try:
            return pa.array(texts, kind)
        except UnicodeEncodeError:
            stored = pa.array([None if text is None else text.encode("utf-8", "surrogateescape") for text in texts], pa.binary())
            # told from the others when the rows are looked at
            return pa.Array.from_buffers(kind, len(stored), stored.buffers())
    stored_kind = _stored(kind)
    plain = pa.array([_plain(value, kind) for value in values], stored_kind)
    return plain if stored_kind == kind else plain.cast(kind)


def _scale(declared: Any) -> int | None:
    for branch in declared if isinstance(declared, list) else [declared]:
        if isinstance(branch, Mapping) and branch.get("logicalType") == "decimal":
            return int(branch.get("scale", 0))
    return None


def _text(value: Any, scale: int | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes) and scale is not None:
        return format(_decimal(value, scale), "f")
    return json.dumps(value, ensure_ascii=False, default=_shown)


def _shown(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A value as Arrow takes it for the stored type."""
    if value is None:
        return None
    if pt.is_decimal(kind):
        return _decimal(value, kind.scale)
    if pt.is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    if pt.is_map(kind):
        return [(name, _plain(item, kind.item_type)) for name, item in value.items()]
    if pt.is_struct(kind):
        return {item.name: _plain(value[item.name], item.type) for item in kind}
    return _text(value, None) if pt.is_string(kind) else value


def _decimal(stored: bytes, scale: int) -> Decimal:
    unscaled = int.from_bytes(stored, "big", signed=True)
    sign, digits = (1, -unscaled) if unscaled < 0 else (0, unscaled)
    return Decimal((sign, tuple(map(int, str(digits))), -scale))


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type whose values are what is stored: numbers for times."""
    if pt.is_timestamp(kind) or pt.is_time64(kind):
        return pa.int64()
    if pt.is_date32(kind) or pt.is_time32(kind):
        return pa.int32()
    if pt.is_list(kind):
        return pa.list_(_stored(kind.value_type))
    if pt.is_map(kind):
        return pa.map_(pa.string(), _stored(kind.item_type))
    if pt.is_struct(kind):
        return pa.struct([(item.name, _stored(item.type)) for item in kind])
    return kind
