"""Writing segment files: Parquet, many at a time by partition, and `.duckdb`. Making them durable is the store's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import duckdb

from timestore_assets.model.segment import TABLE_IN_DUCKDB, ColumnStats
from timestore_assets.model.types import literal, quote
from timestore_assets.storage.engine import disk_failures, one_row
from timestore_assets.storage.statistics import by_query, from_returned

STORAGE_VERSION = "v1.5.0"
"""Format of `.duckdb` segments: DuckDB 1.5 reads it too, while 2.0's own default shuts 1.5 out at no gain in size."""

PARQUET_OPTIONS = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 1"
_LONGEST_KEY = 60  # bytes of a partition value that may become part of a folder's name


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """A finished segment file. `stats`: per column of the file as stored, hidden columns included.

    `partition`: text of each `by` column's value, None for null; empty for a file that was written alone.
    """

    path: Path
    rows: int
    bytes: int
    stats: Mapping[str, ColumnStats]
    partition: Mapping[str, str | None] = field(default_factory=dict)


def copy_partitioned(con: duckdb.DuckDBPyConnection, query: str, *, folder: Path, by: Sequence[str]) -> list[WrittenFile]:
    """Write the rows of a query as one Parquet file for each combination of values of the `by` columns.

    The `by` columns are left out of the files (select a column twice to keep it). With more than 500 combinations some
    may get several files. `folder` must be empty or new.

    Raises:
        StorageFullError, UnavailableError: as `engine.disk_failures`.
    """
    types = column_types(con, query)
    keys = ", ".join(_folder_value(name, types[name]) for name in by)
    keyed = f"SELECT * REPLACE ({keys}) FROM ({query})" if keys else query
    columns = ", ".join(quote(name) for name in by)
    with disk_failures("writing segments", folder):
        found = con.execute(
            f"COPY ({keyed}) TO {literal(str(folder))}"
            f" ({PARQUET_OPTIONS}, PARTITION_BY ({columns}), WRITE_PARTITION_COLUMNS false, RETURN_STATS)"
        ).fetchall()
    stored = {name: kind for name, kind in types.items() if name not in by}
    files = [_written(row, stored) for row in found]
    return _with_long_values(con, query, by, types, files)


def write_parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> WrittenFile:
    """Write the rows of a query, in its order, as one Parquet file. Errors as `copy_partitioned`."""
    with disk_failures("writing a segment", path.parent):
        row = one_row(con, f"COPY ({query}) TO {literal(str(path))} ({PARQUET_OPTIONS}, RETURN_STATS)")
    return _written(row, column_types(con, query))


def write_duckdb(con: duckdb.DuckDBPyConnection, query: str, path: Path, *, view: str, visible: Sequence[str]) -> WrittenFile:
    """Write the rows of a query, in its order, as a DuckDB database with the table `segment`.

    `view`: name of a view of the `visible` columns beside it (the dataset's name). Errors as `copy_partitioned`.
    """
    alias = f"write_{token_hex(6)}"
    table = f"{alias}.{TABLE_IN_DUCKDB}"
    with disk_failures("writing a segment", path.parent):
        block = _block_bytes(one_row(con, f"SELECT count(*) FROM ({query})")[0])
        options = f"STORAGE_VERSION '{STORAGE_VERSION}', BLOCK_SIZE {block}"
        con.execute(f"ATTACH {literal(str(path))} AS {alias} ({options})")
        try:
            con.execute(f"CREATE TABLE {table} AS {query}")
            if view.lower() != TABLE_IN_DUCKDB:
                columns = ", ".join(quote(name) for name in visible)
                con.execute(f"CREATE VIEW {alias}.{quote(view)} AS SELECT {columns} FROM {TABLE_IN_DUCKDB}")
            rows, stats = by_query(con, table, column_types(con, f"SELECT * FROM {table}"))
        finally:
            con.execute(f"DETACH {alias}")
    return WrittenFile(path=path, rows=rows, bytes=path.stat().st_size, stats=stats)


def _block_bytes(rows: int) -> int:
    """DuckDB's block size for a segment of so many rows.

    Each column takes at least a block or two: 1,000 rows of 8 columns make 78 kB in small blocks and 537 kB in the default
    ones, and attach three times faster. From 200,000 rows on the default is as small and needs fewer reads.
    """
    return 16_384 if rows < 5_000 else 65_536 if rows < 200_000 else 262_144


def column_types(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, str]:
    """DuckDB type text of each column of a query, without running it."""
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE {query}").fetchall()}


def _written(row: tuple[Any, ...], types: Mapping[str, str]) -> WrittenFile:
    name, rows, size, _, statistics, partition = row[:6]
    return WrittenFile(path=Path(name), rows=rows, bytes=size, stats=from_returned(statistics, types), partition=partition or {})


def _folder_value(name: str, kind: str) -> str:
    """SQL for what stands for a `by` value in folder names: long texts, which no folder name can hold, by their hash."""
    column = quote(name)
    if kind != "VARCHAR":
        return f"{column} AS {column}"
    return f"CASE WHEN {_is_hashed(column)} THEN '~' || md5({column}) ELSE {column} END AS {column}"


def _is_hashed(column: str) -> str:
    return f"(strlen({column}) > {_LONGEST_KEY} OR starts_with({column}, '~'))"


def _with_long_values(
    con: duckdb.DuckDBPyConnection, query: str, by: Sequence[str], types: Mapping[str, str], files: list[WrittenFile]
) -> list[WrittenFile]:
    """Put back the values of which the folder names hold only a hash; costs a second pass, if there are any."""
    originals: dict[str, dict[str | None, str]] = {}
    for name in by:
        if types[name] == "VARCHAR" and any((file.partition[name] or "").startswith("~") for file in files):
            column = quote(name)
            found = con.execute(f"SELECT DISTINCT '~' || md5({column}), {column} FROM ({query}) WHERE {_is_hashed(column)}")
            originals[name] = dict(found.fetchall())
    if not originals:
        return files
    return [
        WrittenFile(
            path=file.path,
            rows=file.rows,
            bytes=file.bytes,
            stats=file.stats,
            partition={name: originals.get(name, {}).get(value, value) for name, value in file.partition.items()},
        )
        for file in files
    ]
