"""Cutting a partition's sorted rows into files, none much larger than asked, each in its format.

Where keys have many rows, a file holds one semantic key. Where they have few, it holds all: each file costs a reader more than
the rows of other keys that it leaves out, and those are skipped by row group anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import SegmentFormat
from timestore_assets.model.types import quote
from timestore_assets.segments.writer import WrittenFile, write_duckdb, write_parquet

DUCKDB_FROM_ROWS = 250_000
"""Rows from which on `auto` writes `.duckdb`: attaching costs about as much as it saves on smaller files (decision D19)."""

SPLIT_ROWS = 250_000
"""Rows that semantic keys have on average, from which on each gets files of its own (decision D53)."""


def sealed_format(policy: Literal["auto", "duckdb", "parquet"], *, rows: int) -> SegmentFormat:
    """The format of a sealed segment with that many rows."""
    if policy != "auto":
        return policy
    return "duckdb" if rows >= DUCKDB_FROM_ROWS else "parquet"


ROWID = "rowid"
"""DuckDB's own number of a row in a table, unless the table has a column of that name."""

_SAMPLE_ROWS = 200_000
# Formats and sort orders differ in size by less than this, so smaller partitions need no sample to be known to fit a file
_DOUBT = 3


def write_sealed(
    con: duckdb.DuckDBPyConnection,
    query: str,
    path: Path,
    format: SegmentFormat,
    *,
    dataset: Dataset,
    schema: Schema,
    expected: int | None = None,
) -> WrittenFile:
    """Write the rows of a query, in its order, as a segment file. `expected`: how many, where that is known."""
    if format == "parquet":
        return write_parquet(con, query, path, field_ids=schema.ids)
    return write_duckdb(con, query, path, view=dataset.name, visible=schema.names, expected=expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSlice:
    """Rows `[first, first + rows)` of the sorted table, all of one semantic key, and the format of their file."""

    semantic_key: tuple[str, ...] | None
    first: int
    rows: int
    format: SegmentFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSplitter:
    """Cuts a table, whose rows are sorted by the dataset's `partition_by` columns first, into segment files in `folder`.

    `number`: name of the column that numbers the rows from 0.
    """

    con: duckdb.DuckDBPyConnection
    table: str
    number: str
    dataset: Dataset
    schema: Schema
    folder: Path

    def pieces(self, *, bytes_per_row: float, by_key: bool) -> list[FileSlice]:
        """How the table is cut. `bytes_per_row`: as in the files the rows came from."""
        groups = self._groups(by_key)
        largest = max((rows for _, _, rows in groups), default=0)
        target = self.dataset.segments.target_bytes
        if not fits_one_file(rows=largest, bytes_per_row=bytes_per_row, target=target):
            bytes_per_row = self._sampled_bytes_per_row(largest)
        fitting = max(1, int(target / max(bytes_per_row, 1e-9)))
        return [
            FileSlice(semantic_key=key, first=start, rows=size, format=sealed_format(self.dataset.segments.format, rows=size))
            for key, first, rows in groups
            for start, size in even_cuts(first, rows, at_most=fitting)
        ]

    def write(self, piece: FileSlice) -> WrittenFile:
        """Write one slice as a segment file."""
        return self._write(self.rows(piece), self.folder / f"{piece.first}.{piece.format}", piece.format)

    def rows(self, piece: FileSlice) -> str:
        """SQL for the rows of one slice."""
        return self._rows(piece.first, piece.first + piece.rows)

    def _rows(self, first: int, end: int) -> str:
        """SQL for the rows with these numbers; the system's own row number is no part of `*`, another has to be left out."""
        columns = "*" if self.number == ROWID else f"* EXCLUDE ({self.number})"
        return f"SELECT {columns} FROM {self.table} WHERE {self.number} >= {first} AND {self.number} < {end}"

    def _write(self, rows: str, path: Path, format: SegmentFormat) -> WrittenFile:
        return write_sealed(self.con, rows, path, format, dataset=self.dataset, schema=self.schema)

    def _groups(self, by_key: bool) -> list[tuple[tuple[str, ...] | None, int, int]]:
        """Semantic key, first row and number of rows of each run of equal keys."""
        names = [quote(name) for name in self.dataset.partition_by]
        if not by_key:
            counted = self.con.execute(f"SELECT count(*) FROM {self.table}").fetchone()
            return [(None, 0, counted[0])] if counted and counted[0] else []
        texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in names)
        groups = self.con.execute(
            f"SELECT {texts}, min({self.number}) AS first, count(*) FROM {self.table} GROUP BY {', '.join(names)} ORDER BY first"
        ).fetchall()
        return [(tuple(row[:-2]), row[-2], row[-1]) for row in groups]

    def _sampled_bytes_per_row(self, rows: int) -> float:
        """Size of a row in the format that so many rows would get, by writing some."""
        sample = min(rows, _SAMPLE_ROWS)
        format = sealed_format(self.dataset.segments.format, rows=rows)
        path = self.folder / f"sample.{format}"
        written = self._write(self._rows(0, sample), path, format)
        path.unlink()
        return written.bytes / max(1, written.rows)


def is_split(*, rows: int, keys: int) -> bool:
    """Whether a partition with so many semantic keys is cut by them."""
    return keys > 0 and rows >= SPLIT_ROWS * keys


def fits_one_file(*, rows: int, bytes_per_row: float, target: int) -> bool:
    """Whether a partition is sure to be no larger than a file may be, whatever the format and the order of its rows."""
    return rows * bytes_per_row * _DOUBT <= target


def even_cuts(first: int, rows: int, *, at_most: int) -> Iterator[tuple[int, int]]:
    """Start and length of the fewest runs that cover `[first, first + rows)`, equal but for one row, none over `at_most`."""
    number = -(-rows // at_most)
    for i in range(number):
        start, end = rows * i // number, rows * (i + 1) // number
        yield first + start, end - start
