"""Column statistics of segment files as JSON-able values: from DuckDB's texts while it writes, by a query, or from a footer."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb

from timestore_assets.model.segment import ColumnStats
from timestore_assets.model.types import quote
from timestore_assets.segments.engine import one_row

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LONGEST_TEXT = 64  # characters; longer bounds are unknown rather than a burden for the catalog
_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT"})
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_TIMES = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00)?)?")


def from_returned(returned: Mapping[str, Mapping[str, str]], types: Mapping[str, str]) -> dict[str, ColumnStats]:
    """Statistics of a file from the `column_statistics` of COPY's RETURN_STATS.

    `types`: DuckDB type text of each column. Columns whose bounds aren't known exactly keep only their null count.
    """
    return {name: _column(returned.get(quote(name), {}), kind) for name, kind in types.items()}


def _column(found: Mapping[str, str], kind: str) -> ColumnStats:
    nulls = int(found.get("null_count", 0))
    exact = found.get("min_is_exact") == found.get("max_is_exact") == "true" and found.get("has_nan", "false") == "false"
    if not exact:
        return ColumnStats(nulls=nulls)
    low, high = scalar(found["min"], kind), scalar(found["max"], kind)
    return ColumnStats(min=low, max=high, nulls=nulls)


def scalar(text: str, kind: str) -> Any:
    """A bound as a JSON-able value that compares like the column's values; None when there is no such value."""
    if kind in _INTEGERS:
        return int(text)
    if kind in _FLOATS:
        return _float(text, kind)
    if kind == "BOOLEAN":
        return text in ("1", "true")
    if kind == "VARCHAR":
        return text if len(text) <= LONGEST_TEXT else None
    if kind in _TIMES:
        match = _TIME.fullmatch(text)
        return None if match is None else f"{match[1]}T{match[2]}" if match[2] else match[1]
    return text if _is_decimal(kind) else None


def _is_decimal(kind: str) -> bool:
    return kind.startswith("DECIMAL(") and kind.endswith(")")


def _float(text: str, kind: str) -> float | None:
    value = float(text)
    if not math.isfinite(value):
        return None
    # the text of a FLOAT is its shortest one; as a double it has to be the very value that the file holds
    return float(struct.unpack("<f", struct.pack("<f", value))[0]) if kind == "FLOAT" else value


def as_time(bound: Any) -> datetime:
    """A bound of a column of times as a time."""
    return datetime.fromisoformat(bound).replace(tzinfo=UTC)


def by_query(con: duckdb.DuckDBPyConnection, table: str, types: Mapping[str, str]) -> tuple[int, dict[str, ColumnStats]]:
    """Number of rows and statistics of a table, in one pass over it.

    `table`: SQL table expression. `types`: as in `from_returned`.
    """
    expressions = ["count(*)"]
    for name, kind in types.items():
        expressions += _expressions(quote(name), kind)
    return _of_values(one_row(con, f"SELECT {', '.join(expressions)} FROM {table}"), types)


def by_groups(
    con: duckdb.DuckDBPyConnection, table: str, types: Mapping[str, str], *, by: str
) -> dict[Any, tuple[int, dict[str, ColumnStats]]]:
    """The same of each group of its rows. `by`: SQL of what tells the groups apart, by which they are given."""
    expressions = ["count(*)"]
    for name, kind in types.items():
        expressions += _expressions(quote(name), kind)
    # by number, so that no column's name is in the way
    rows = con.execute(f"SELECT {', '.join(expressions)}, {by} FROM {table} GROUP BY {len(expressions) + 1}").fetchall()
    return {row[-1]: _of_values(row[:-1], types) for row in rows}


def _of_values(found: tuple[Any, ...], types: Mapping[str, str]) -> tuple[int, dict[str, ColumnStats]]:
    rows, *values = found
    columns = {}
    for i, (name, kind) in enumerate(types.items()):
        low, high, count = values[3 * i : 3 * i + 3]
        columns[name] = _from_query(low, high, nulls=rows - count, kind=kind)
    return rows, columns


def _expressions(column: str, kind: str) -> tuple[str, str, str]:
    """SQL for the smallest and largest value as text and the number of values."""
    if kind == "VARCHAR":
        # a whole long text need not be carried through the aggregate to find that it is too long
        cut = f"substr({column}, 1, {LONGEST_TEXT + 1})"
        return f"min({cut})", f"max({cut})", f"count({column})"
    if kind in _FLOATS or kind in _INTEGERS or kind in _TIMES or kind == "BOOLEAN" or _is_decimal(kind):
        return f"min({column})::VARCHAR", f"max({column})::VARCHAR", f"count({column})"
    return "NULL", "NULL", f"count({column})"


def _from_query(low: str | None, high: str | None, *, nulls: int, kind: str) -> ColumnStats:
    # NaN sorts above all numbers in DuckDB, so it shows in the maximum
    if low is None or high is None or (kind in _FLOATS and "nan" in high):
        return ColumnStats(nulls=nulls)
    return ColumnStats(min=scalar(low, kind), max=scalar(high, kind), nulls=nulls)


def from_footer(metadata: pq.FileMetaData, index: int | None, *, unprunable: bool) -> ColumnStats:
    """Statistics of a column from those of a Parquet file's row groups.

    `index`: the Parquet column, None for a nested one. `unprunable`: it may hold NaN, so its bounds are left unknown.
    """
    if index is None:
        return ColumnStats()
    groups = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
    nulls = sum(group.null_count for group in groups)
    bounds = [(group.min, group.max) for group in groups if group.has_min_max]
    full = [metadata.row_group(i).num_rows > group.null_count for i, group in enumerate(groups)]
    if unprunable or not bounds or len(bounds) < sum(full):
        return ColumnStats(nulls=nulls)
    low, high = _of_python(min(low for low, _ in bounds)), _of_python(max(high for _, high in bounds))
    return ColumnStats(min=low, max=high, nulls=nulls) if low is not None and high is not None else ColumnStats(nulls=nulls)


def _of_python(value: Any) -> Any:
    """As `scalar`, of a bound that is a Python value."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else None
