"""Writing segment files: Parquet and `.duckdb` from queries, deltas from tables. Making them durable is the store's part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from secrets import token_hex
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from timestore_assets.model.schema import SESSION_COLUMN, SOURCE_COLUMN
from timestore_assets.model.segment import TABLE_IN_DUCKDB, ColumnStats
from timestore_assets.model.types import literal, quote
from timestore_assets.segments.engine import disk_failures, one_row
from timestore_assets.segments.statistics import by_query, from_footer, from_returned
from timestore_assets.storage.disk_errors import not_written

STORAGE_VERSION = "v1.5.0"
"""Format of `.duckdb` segments: DuckDB 1.5 reads it too, while 2.0's own default shuts 1.5 out at no gain in size."""

PARQUET_OPTIONS = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """A finished segment file."""

    path: Path
    rows: int
    bytes: int
    #: Per column of the file as stored, hidden columns included.
    stats: Mapping[str, ColumnStats]
    #: Digest of the file's bytes; None where whoever wrote it has left that to the caller.
    sha256: str | None = None


def write_parquet(
    con: duckdb.DuckDBPyConnection, query: str, path: Path, *, field_ids: Mapping[str, int] | None = None
) -> WrittenFile:
    """Write the rows of a query, in its order, as one Parquet file. `field_ids`: of columns, so that it explains itself.

    Raises:
        StorageFullError, UnavailableError: as `engine.disk_failures`.
    """
    with disk_failures("writing a segment", path.parent):
        ids = ", ".join(f"{quote(name)}: {number}" for name, number in (field_ids or {}).items())
        options = f"{PARQUET_OPTIONS}, RETURN_STATS" + (f", FIELD_IDS {{{ids}}}" if ids else "")
        row = one_row(con, f"COPY ({query}) TO {literal(str(path))} ({options})")
    return _written(row, column_types(con, query))


def write_duckdb(
    con: duckdb.DuckDBPyConnection, query: str, path: Path, *, view: str, visible: Sequence[str], expected: int | None = None
) -> WrittenFile:
    """Write the rows of a query, in its order, as a DuckDB database with the table `segment`.

    `view`: name of a view of the `visible` columns beside it (the dataset's name). `expected`: how many rows those will be;
    they are counted first where that is not known. Errors as `write_parquet`.
    """
    alias = f"write_{token_hex(6)}"
    table = f"{alias}.{TABLE_IN_DUCKDB}"
    with disk_failures("writing a segment", path.parent):
        block = _block_bytes(one_row(con, f"SELECT count(*) FROM ({query})")[0] if expected is None else expected)
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
    name, rows, size, _, statistics = row[:5]
    return WrittenFile(path=Path(name), rows=rows, bytes=size, stats=from_returned(statistics, types))


_ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group, the unit in which its scans run in parallel."""
_ROW_GROUP_BYTES = 32_000_000
"""Of Arrow data, for rows so long that as many of them would not fit the memory."""
_WORTH_A_THREAD = 5_000
"""Rows of a file from which on two threads write files quicker than one."""
_ENCODED_AT_ONCE = (1024, 1_000_000)
"""Values, and bytes of rows, that the encoder takes before it looks whether a page or a dictionary has become too large."""


def write_delta_files(
    table: pa.Table,
    spans: Sequence[tuple[int, int]],
    *,
    folder: Path,
    unprunable: Sequence[str] = (),
    field_ids: Mapping[str, int] | None = None,
    threads: int = 1,
) -> list[WrittenFile]:
    """Write a table as one file for each span, in their order.

    `table`: columns as stored. `spans`: first row and number of rows of each. `unprunable`: columns that may hold NaN, whose
    bounds are left unknown. `field_ids`: of columns, so that the files explain themselves.

    Raises:
        StorageFullError, UnavailableError: the folder takes no more; what was written is left there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encodings, schema = _encodings(table), _with_ids(table.schema, field_ids)

    def write(job: tuple[int, tuple[int, int]]) -> WrittenFile:
        number, (first, rows) = job
        return _write([table.slice(first, rows)], schema, folder / f"{number}.parquet", encodings, unprunable)

    jobs = list(enumerate(spans))
    # of small files nearly all is Python, for which threads only wait for each other
    side_by_side = threads if sum(rows for _, rows in spans) >= _WORTH_A_THREAD * len(jobs) else 1
    try:
        if side_by_side == 1 or len(jobs) < 2:
            return [write(job) for job in jobs]
        with ThreadPoolExecutor(min(side_by_side, len(jobs))) as pool:
            return list(pool.map(write, jobs))
    except OSError as error:
        raise not_written(folder, "writing segments", error) from error


def write_delta_file(
    tables: Iterator[pa.Table],
    path: Path,
    *,
    unprunable: Sequence[str] = (),
    field_ids: Mapping[str, int] | None = None,
    row_group_rows: int = _ROW_GROUP_ROWS,
) -> WrittenFile:
    """Write rows that come in several tables of one schema as one file; errors and columns as `write_delta_files`."""
    first = next(tables)
    try:
        schema = _with_ids(first.schema, field_ids)
        return _write(chain((first,), tables), schema, path, _encodings(first), unprunable, row_group_rows)
    except OSError as error:
        raise not_written(path.parent, "writing segments", error) from error


class SmallFiles:
    """Writes files of some thousand rows, as `write_parquet` would, in a quarter of the time. `kinds`: their columns as stored.

    Statistics are left to the caller, who has them for many files at once.
    """

    def __init__(self, kinds: pa.Schema, *, field_ids: Mapping[str, int]) -> None:
        self._schema = _with_ids(kinds, field_ids)
        self._encodings = _encodings(kinds.empty_table()) | {
            "compression": "zstd",
            "compression_level": 1,
            "write_batch_size": _ENCODED_AT_ONCE[0],
        }

    def write(self, rows: pa.Table, path: Path) -> WrittenFile:
        """Write rows, in their order, as one Parquet file; errors as `write_delta_file`."""
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, self._schema, **self._encodings) as writer:
            writer.write_table(rows.cast(self._schema), row_group_size=_ROW_GROUP_ROWS)
        content = sink.getvalue()
        try:
            path.write_bytes(content)
        except OSError as error:
            raise not_written(path.parent, "writing segments", error) from error
        digest = hashlib.sha256(content).hexdigest()
        return WrittenFile(path=path, rows=rows.num_rows, bytes=content.size, stats={}, sha256=digest)


def _write(
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    path: Path,
    encodings: dict[str, Any],
    unprunable: Sequence[str],
    row_group_rows: int = _ROW_GROUP_ROWS,
) -> WrittenFile:
    collected: list[pq.FileMetaData] = []
    try:
        with pq.ParquetWriter(path, schema, metadata_collector=collected, **encodings) as writer:
            for table in _in_row_groups(tables, row_group_rows):
                writer.write_table(table, row_group_size=row_group_rows)
    except RuntimeError as error:
        # the writer, asked for its metadata after a failed write, hides the failure itself
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    stats = {name: from_footer(collected[0], index, unprunable=name in unprunable) for index, name in _leaves(schema)}
    return WrittenFile(path=path, rows=collected[0].num_rows, bytes=path.stat().st_size, stats=stats)


def _with_ids(schema: pa.Schema, field_ids: Mapping[str, int] | None) -> pa.Schema:
    known = field_ids or {}
    return pa.schema(
        [field.with_metadata({"PARQUET:field_id": str(known[field.name])}) if field.name in known else field for field in schema]
    )


def _in_row_groups(tables: Iterable[pa.Table], most: int) -> Iterator[pa.Table]:
    """The same rows in tables of whole row groups, but for the last: small ones are put together before they are written."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if size >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
        elif rows >= most:
            whole = pa.concat_tables(waiting)
            full = rows - rows % most
            yield whole.slice(0, full)
            waiting = [whole.slice(full)] if full < rows else []
            rows, size = rows - full, sum(one.nbytes for one in waiting)
    if waiting:
        yield pa.concat_tables(waiting)


def _encodings(table: pa.Table) -> dict[str, Any]:
    """Dictionaries where values repeat, differences for numbers that are near each other; the rest plain.

    Dictionaries of numbers that are all different cost more time than all else together.
    """
    schema = table.schema
    values, size = _ENCODED_AT_ONCE
    constant = {SOURCE_COLUMN, SESSION_COLUMN}
    dictionary = [field.name for field in schema if field.name in constant or pt.is_string(field.type)]
    near = [field for field in schema if field.name not in constant and _is_countable(field.type)]
    return {
        "compression": "snappy",
        "use_dictionary": dictionary or False,
        "write_batch_size": max(1, min(values, size * max(table.num_rows, 1) // max(table.nbytes, 1))),
        "column_encoding": {field.name: "DELTA_BINARY_PACKED" for field in near} or None,
        # the Arrow schema would be repeated in every file's footer, and nobody needs it
        "store_schema": False,
        # four bytes a page, which tell readers that look which page is damaged; DuckDB does not look
        "write_page_checksum": True,
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
