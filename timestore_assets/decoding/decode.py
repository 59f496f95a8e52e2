"""A batch of any encoding to typed columns: the declared ones filled, the others set aside for `evolve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import duckdb
import pyarrow as pa

from timestore_assets.decoding.arrow_values import typed_cell, typed_raw_column
from timestore_assets.decoding.coerce_columns import ColumnCoercion, coerce, text_cell
from timestore_assets.decoding.column_names import check_header
from timestore_assets.decoding.former_columns import FormerNames
from timestore_assets.decoding.json_records import read_records
from timestore_assets.decoding.record_fields import formed_fields
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.decoding.spelling import with_point
from timestore_assets.decoding.undeclared_columns import Extras, RawColumn, TableExtras
from timestore_assets.model.record_form import PLAIN, POINT, NumberMarks, RecordForm, Spelling
from timestore_assets.model.schema import Column
from timestore_assets.sources.batches import Batch


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
    row_mask: RowMask,
    *,
    declared: Sequence[Column],
    inferred: Sequence[Column] = (),
    zone: str | None = None,
    form: RecordForm = PLAIN,
    path: Mapping[str, str | None] | None = None,
) -> Decoded:
    """Coerce a batch to the declared columns, refusing bad rows in the mask.

    `inferred`: columns that evolution found before; they matter here only for names that differ by case. `zone`: IANA name of
    the zone of naive times, None for UTC. `form`: how the records are written. `path`: values of columns that the file's path
    gives to records without their own.

    Raises:
        BadFileError: a batch with a header lacks a required column, or its names can't be told apart.
    """
    known = [*declared, *inferred]
    former = FormerNames.of(known, form)
    path = former.path(path or {})
    if batch.encoding == "json":
        beside, form = former.beside(form)
        names = [*(column.name for column in inferred), *(name for name in former.columns if former.columns[name] in inferred)]
        values = batch.records.column("value")
        columns = [*declared, *beside]
        table, extras = read_records(con, values, columns, names, row_mask, zone=zone, form=form, path=path)
        return Decoded(table=former.joined(table, row_mask), extras=former.extras(extras, row_mask))
    records = formed_fields(con, former.renamed(batch.records), form, path, declared)
    check_header(records.column_names, known)
    spellings = [form.spelling(column.name, zone=zone) for column in _present(records, declared)]
    if batch.encoding == "text":
        return _decode_text(con, records, row_mask, declared, spellings)
    return _decode_typed(con, records, row_mask, declared, spellings)


def _decode_text(
    con: duckdb.DuckDBPyConnection,
    records: pa.Table,
    row_mask: RowMask,
    declared: Sequence[Column],
    spellings: Sequence[Spelling],
) -> Decoded:
    marks = spellings[0].marks if spellings else POINT
    cells = [
        text_cell(column, records.column(column.name), spelling)
        for column, spelling in zip(_present(records, declared), spellings, strict=True)
    ]
    raw_text = partial(_raw_text, con, marks)
    return Decoded(table=_coerced(con, cells, records, row_mask), extras=TableExtras(_others(records, declared), raw_text))


def _decode_typed(
    con: duckdb.DuckDBPyConnection,
    records: pa.Table,
    row_mask: RowMask,
    declared: Sequence[Column],
    spellings: Sequence[Spelling],
) -> Decoded:
    cells = [
        typed_cell(column, records.column(column.name), spelling=spelling)
        for column, spelling in zip(_present(records, declared), spellings, strict=True)
    ]
    return Decoded(
        table=_coerced(con, cells, records, row_mask), extras=TableExtras(_others(records, declared), typed_raw_column)
    )


def _coerced(con: duckdb.DuckDBPyConnection, cells: Sequence[ColumnCoercion], records: pa.Table, row_mask: RowMask) -> pa.Table:
    # a table without columns would forget how many rows it has, and every dataset declares its time
    return coerce(con, cells, row_mask) if records.num_rows else pa.table({cell.column.name: cell.raw for cell in cells})


def _present(records: pa.Table, declared: Sequence[Column]) -> list[Column]:
    present = set(records.column_names)
    return [column for column in declared if column.name in present]


def _others(records: pa.Table, declared: Sequence[Column]) -> pa.Table:
    names = {column.name for column in declared}
    return records.select([name for name in records.column_names if name not in names])


def _raw_text(con: duckdb.DuckDBPyConnection, marks: NumberMarks, values: pa.ChunkedArray) -> RawColumn:
    if marks == POINT:
        return RawColumn(values=values)
    # what nobody declared is stored as text, and read as a number by a point
    con.register("landing_raw", pa.table({"t": values}))
    try:
        found = con.sql(f"SELECT coalesce({with_point('t', marks)}, t) AS t FROM landing_raw").to_arrow_table().column(0)
    finally:
        con.unregister("landing_raw")
    return RawColumn(values=found)
