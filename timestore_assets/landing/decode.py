"""A batch of any encoding to typed columns: the declared ones filled, the others set aside for `evolve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from timestore_assets.landing.cells import RAW, Cell, coerce
from timestore_assets.landing.coercion import value_of_text
from timestore_assets.landing.extras import Extras, RawColumn, TableExtras
from timestore_assets.landing.header import check_header
from timestore_assets.landing.json_documents import read_documents
from timestore_assets.landing.sieve import Sieve
from timestore_assets.landing.typed_values import typed_cell, typed_raw_column
from timestore_assets.model.schema import Column
from timestore_assets.sources.port import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """`table`: declared columns that the batch has, typed, one row for each of the batch (refused ones with any values).

    Timestamps are microseconds in UTC without a zone.
    """

    table: pa.Table
    extras: Extras


def decode(
    con: duckdb.DuckDBPyConnection,
    batch: Batch,
    sieve: Sieve,
    *,
    declared: Sequence[Column],
    inferred: Sequence[Column] = (),
    zone: str | None = None,
) -> Decoded:
    """Coerce a batch to the declared columns, refusing bad rows in the sieve.

    `inferred`: columns that evolution found before; they matter here only for names that differ by case. `zone`: IANA name of
    the zone of naive times, None for UTC.

    Raises:
        BadFileError: a batch with a header lacks a required column, or its names can't be told apart.
    """
    known = [*declared, *inferred]
    if batch.encoding == "json":
        names = [column.name for column in inferred]
        table, extras = read_documents(con, batch.records.column("value"), declared, names, sieve, zone=zone)
        return Decoded(table=table, extras=extras)
    check_header(batch.records.column_names, known)
    if batch.encoding == "text":
        return _decode_text(con, batch, sieve, declared, zone)
    return _decode_typed(con, batch, sieve, declared, zone)


def _decode_text(
    con: duckdb.DuckDBPyConnection, batch: Batch, sieve: Sieve, declared: Sequence[Column], zone: str | None
) -> Decoded:
    cells = []
    for column in _present(batch, declared):
        value = None if column.type.kind == "string" else value_of_text(RAW, column.type, zone=zone)
        cells.append(Cell(column=column, raw=batch.records.column(column.name), value=value))
    return Decoded(table=_coerced(con, cells, batch, sieve), extras=TableExtras(_others(batch, declared), _raw_text))


def _decode_typed(
    con: duckdb.DuckDBPyConnection, batch: Batch, sieve: Sieve, declared: Sequence[Column], zone: str | None
) -> Decoded:
    cells = [typed_cell(column, batch.records.column(column.name), zone=zone) for column in _present(batch, declared)]
    return Decoded(table=_coerced(con, cells, batch, sieve), extras=TableExtras(_others(batch, declared), typed_raw_column))


def _coerced(con: duckdb.DuckDBPyConnection, cells: Sequence[Cell], batch: Batch, sieve: Sieve) -> pa.Table:
    # a table without columns would forget how many rows it has, and every dataset declares its time
    return coerce(con, cells, sieve) if batch.records.num_rows else pa.table({cell.column.name: cell.raw for cell in cells})


def _present(batch: Batch, declared: Sequence[Column]) -> list[Column]:
    present = set(batch.records.column_names)
    return [column for column in declared if column.name in present]


def _others(batch: Batch, declared: Sequence[Column]) -> pa.Table:
    names = {column.name for column in declared}
    return batch.records.select([name for name in batch.records.column_names if name not in names])


def _raw_text(values: pa.ChunkedArray) -> RawColumn:
    return RawColumn(values=values)
