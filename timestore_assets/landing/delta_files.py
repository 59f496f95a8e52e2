"""One Parquet file for each partition of a batch, encoded for speed, with the statistics that pruning needs."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from timestore_assets.landing.cluster import Clusters
from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets.model.schema import SESSION_COLUMN, SOURCE_COLUMN
from timestore_assets.model.segment import ColumnStats
from timestore_assets.storage.segments import WrittenFile

_LONGEST_TEXT = 64  # characters; longer bounds are left unknown, see `ColumnStats`
_ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group, the unit in which its scans run in parallel."""


def write_delta_files(
    table: pa.Table, clusters: Clusters, *, folder: Path, unprunable: Sequence[str] = (), threads: int = 1
) -> list[WrittenFile]:
    """Write a table as one file for each cluster, in order of time.

    `table`: rows in the order of the clusters, columns as stored. `unprunable`: columns that may hold NaN, whose bounds are
    left unknown.

    Raises:
        StorageFullError, UnavailableError: the folder takes no more; what was written is left there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encodings = _encodings(table.schema)

    def write(job: tuple[int, tuple[int, int]]) -> WrittenFile:
        number, (first, rows) = job
        return _write([table.slice(first, rows)], table.schema, folder / f"{number}.parquet", encodings, unprunable)

    jobs = list(enumerate(clusters.spans()))
    try:
        with ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
            return list(pool.map(write, jobs))
    except OSError as error:
        raise not_written(folder, "writing segments", error) from error


def write_delta_file(tables: Iterator[pa.Table], path: Path, *, unprunable: Sequence[str] = ()) -> WrittenFile:
    """Write rows that come in several tables of one schema as one file; errors and columns as `write_delta_files`."""
    first = next(tables)
    try:
        return _write(chain((first,), tables), first.schema, path, _encodings(first.schema), unprunable)
    except OSError as error:
        raise not_written(path.parent, "writing segments", error) from error


def _write(
    tables: Iterable[pa.Table], schema: pa.Schema, path: Path, encodings: dict[str, Any], unprunable: Sequence[str]
) -> WrittenFile:
    collected: list[pq.FileMetaData] = []
    try:
        with pq.ParquetWriter(path, schema, metadata_collector=collected, **encodings) as writer:
            for table in _in_row_groups(tables):
                writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
    except RuntimeError as error:
        # the writer, asked for its metadata after a failed write, hides the failure itself
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    stats = {name: _stats(collected[0], index, name in unprunable) for index, name in _leaves(schema)}
    return WrittenFile(path=path, rows=collected[0].num_rows, bytes=path.stat().st_size, stats=stats)


def _in_row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of whole row groups, but for the last: small ones are put together before they are written."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        rows = sum(one.num_rows for one in waiting)
        if rows >= _ROW_GROUP_ROWS:
            whole = pa.concat_tables(waiting)
            full = rows - rows % _ROW_GROUP_ROWS
            yield whole.slice(0, full)
            waiting = [whole.slice(full)] if full < rows else []
    if waiting:
        yield pa.concat_tables(waiting)


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Dictionaries where values repeat, differences for numbers that are near each other; the rest plain.

    Dictionaries of numbers that are all different cost more time than all else together.
    """
    constant = {SOURCE_COLUMN, SESSION_COLUMN}
    dictionary = [field.name for field in schema if field.name in constant or pt.is_string(field.type)]
    near = [field for field in schema if field.name not in constant and _is_countable(field.type)]
    return {
        "compression": "snappy",
        "use_dictionary": dictionary or False,
        "column_encoding": {field.name: "DELTA_BINARY_PACKED" for field in near} or None,
        # the Arrow schema would be repeated in every file's footer, and nobody needs it
        "store_schema": False,
    }


def _is_countable(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_timestamp(kind) or pt.is_date(kind))


def _leaves(schema: pa.Schema) -> list[tuple[int | None, str]]:
    """The Parquet column of each field; None for nested ones, which are spread over several."""
    found: list[tuple[int | None, str]] = []
    at = 0
    for field in schema:
        found.append((None if pt.is_nested(field.type) else at, field.name))
        at += _width(field.type)
    return found


def _width(kind: pa.DataType) -> int:
    if not pt.is_nested(kind):
        return 1
    return sum(_width(kind.field(index).type) for index in range(kind.num_fields))


def _stats(metadata: pq.FileMetaData, index: int | None, unprunable: bool) -> ColumnStats:
    if index is None:
        return ColumnStats()
    groups = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
    nulls = sum(group.null_count for group in groups)
    bounds = [(group.min, group.max) for group in groups if group.has_min_max]
    full = [metadata.row_group(i).num_rows > group.null_count for i, group in enumerate(groups)]
    if unprunable or not bounds or len(bounds) < sum(full):
        return ColumnStats(nulls=nulls)
    low, high = _scalar(min(low for low, _ in bounds)), _scalar(max(high for _, high in bounds))
    return ColumnStats(min=low, max=high, nulls=nulls) if low is not None and high is not None else ColumnStats(nulls=nulls)


def _scalar(value: Any) -> Any:
    """A bound in the JSON-able form of `ColumnStats`; None when it has none."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else None


def not_written(folder: Path, doing: str, error: OSError) -> UnavailableError:
    """What it means that a file in the staging area could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFullError(f"no room left in {folder} while {doing}; free some and run it again")
    reason = error.strerror or str(error)
    return UnavailableError(f"{doing} in {folder} failed ({reason}); check the disk and the folder's owner and mode")
