"""Single rows of a Parquet file: as JSON text for dead letters, and which ones hold text that isn't UTF-8."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from timestore_assets.sources.files.records import MAX_RAW_BYTES
from timestore_assets.sources.port import BadRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class TypedRows:
    """A typed batch's rows as JSON text (see `port.RawRows`)."""

    table: pa.Table

    def __call__(self, index: int) -> bytes:
        return row_json(self.table, index)

    def many(self, indices: Sequence[int]) -> list[bytes]:
        """See `port.ManyRawRows.many`."""
        try:
            rows = self.table.take(pa.array(indices, pa.int64())).to_pylist()
        except UnicodeDecodeError:
            return [self(index) for index in indices]
        return [_as_json(row) for row in rows]


def row_json(table: pa.Table, index: int) -> bytes:
    """A row as a JSON object: times as ISO text, bytes and not-finite numbers as text."""
    row = table.slice(index, 1)
    try:
        values = row.to_pylist()[0]
    except UnicodeDecodeError:
        values = row.cast(pa.schema([item.with_type(_as_bytes(item.type)) for item in row.schema])).to_pylist()[0]
    return _as_json(values)


def _as_json(values: dict[str, Any]) -> bytes:
    return json.dumps(_plain(values), default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with text replaced by bytes, at any depth of lists and structs."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_as_bytes(item.type)) for item in kind.fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    return kind


def without_invalid_text(table: pa.Table, start: int) -> tuple[pa.Table, list[int], list[BadRecord]]:
    """A table without the rows that hold invalid UTF-8, which pyarrow's Parquet reader lets through.

    Args:
        table: as read.
        start: row index of its first row in the file.

    Returns:
        The table, the indices of the rows left out, and these as refused records.
    """
    wrong = _invalid_rows(table)
    if not wrong:
        return table, [], []
    left_out = set(wrong)
    kept = table.take(pa.array([i for i in range(table.num_rows) if i not in left_out], pa.int64()))
    reason = "a text in the row is not valid UTF-8"
    bad = [
        BadRecord(code="invalid_utf8", reason=reason, raw=row_json(table, i)[:MAX_RAW_BYTES], position=start + i, line=0)
        for i in wrong
    ]
    return kept, wrong, bad


def _invalid_rows(table: pa.Table) -> list[int]:
    suspects = [name for name in table.column_names if not _is_valid(table.select([name]))]
    if not suspects:
        return []
    found: list[int] = []
    spans = [(0, table.num_rows)]
    while spans:
        start, end = spans.pop()
        # taken, not sliced: validation looks at all that a slice's nested children hold
        if _is_valid(table.select(suspects).take(pa.array(range(start, end), pa.int64()))):
            continue
        middle = (start + end) // 2
        if end - start == 1:
            found.append(start)
        else:
            spans += [(middle, end), (start, middle)]
    return found


def _is_valid(table: pa.Table) -> bool:
    kinds = table.schema.types
    if all(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) for kind in kinds):
        return True
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
