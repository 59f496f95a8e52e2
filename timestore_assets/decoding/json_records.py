"""Records of a JSON source: unwrapped, read as documents, with the columns that are made of several keys or stand in the path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.coerce_columns import RAW, ColumnCoercion, coerce, text_cell
from timestore_assets.decoding.coercion import value_of_text
from timestore_assets.decoding.field_keys import NO_FIELDS, FieldKeys
from timestore_assets.decoding.json_documents import SPARE, read_documents
from timestore_assets.decoding.json_fields import read_fields
from timestore_assets.decoding.json_wrappers import unwrapped
from timestore_assets.decoding.record_fields import joined
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.decoding.undeclared_columns import ColumnPattern, Extras, RawColumn
from timestore_assets.model.field_path import FieldPath
from timestore_assets.model.record_form import RecordForm, TimeForm
from timestore_assets.model.schema import Column
from timestore_assets.model.types import STRING


def read_records(
    con: duckdb.DuckDBPyConnection,
    values: pa.ChunkedArray,
    declared: Sequence[Column],
    inferred: Sequence[str],
    row_mask: RowMask,
    *,
    zone: str | None,
    form: RecordForm,
    path: Mapping[str, str | None],
) -> tuple[pa.Table, Extras]:
    """As `read_documents`. `path`: values of columns for records that have none of their own.

    Codes: those of `read_documents`, and `deleted_row`.
    """
    if form.wrapper is not None:
        values = unwrapped(con, values, form.wrapper, row_mask)
    keys = _Keys.of(declared, form)
    extras: Extras
    plain = keys.columns or (SPARE,)
    table, extras = read_documents(con, values, plain, inferred, row_mask, zone=zone, form=keys.form, fields=keys.fields)
    if keys.paths:
        columns = {column.name: column for column in declared}
        found = read_fields(con, values, keys.paths, columns, row_mask, zone=zone, form=form)
        table = pa.table([*table.columns, *found.columns], names=[*table.column_names, *found.column_names])
    if path:
        filling = [*keys.columns, *(column for column in declared if column.name in keys.fields.moved)]
        table = _filled(con, table, filling, keys.form, path, row_mask, zone)
        known = {column.name for column in filling}
        others = {name: text for name, text in path.items() if name not in known and text is not None}
        extras = PathExtras(extras, others, table.num_rows) if others else extras
    if keys.made:
        table = _with_made(con, table, declared, keys, row_mask, zone)
    return table.select([column.name for column in declared]), extras


@dataclass(frozen=True, kw_only=True, slots=True)
class _Keys:
    """What the documents are read as."""

    #: By the keys they have.
    columns: tuple[Column, ...]
    form: RecordForm
    #: Times that are made of them.
    made: tuple[TimeForm, ...]
    #: Those among them that have another name only.
    renamed: frozenset[str] = frozenset()
    #: Those of the declaration that are at a path.
    paths: tuple[FieldPath, ...] = ()
    fields: FieldKeys = NO_FIELDS

    @classmethod
    def of(cls, declared: Sequence[Column], form: RecordForm) -> _Keys:
        names = {column.name for column in declared}
        paths = tuple(path for path in form.fields if path.column in names)
        fields = FieldKeys.of(paths, names) if paths else NO_FIELDS
        plain = [column for column in declared if column.name not in fields.moved]
        found = cls._without_paths(plain, form, fields.moved)
        return replace(found, paths=paths, fields=fields)

    @classmethod
    def _without_paths(cls, declared: Sequence[Column], form: RecordForm, moved: Collection[str]) -> _Keys:
        """`moved`: columns that are read at their paths, and may be parts of a time."""
        made = tuple(time for time in form.times if time.columns and time.columns != (time.column,))
        if not made:
            return cls(columns=tuple(declared), form=form, made=())
        columns = {column.name: column for column in declared}
        times, renamed = [time for time in form.times if time not in made], set[str]()
        for time in made:
            column = columns.pop(time.column)
            # a key of the time's own name is read too, to be refused
            columns[time.column] = Column(name=time.column, type=STRING, nullable=True)
            for name in time.columns:
                if name in moved:
                    continue
                if len(time.columns) == 1 and name not in columns:
                    # its values stay what they are, numbers or texts
                    renamed.add(time.column)
                    columns[name] = replace(column, name=name)
                    times.append(replace(time, column=name, columns=()))
                else:
                    columns.setdefault(name, Column(name=name, type=STRING, nullable=True))
        form = replace(form, times=tuple(times))
        return cls(columns=tuple(columns.values()), form=form, made=made, renamed=frozenset(renamed))


def _with_made(
    con: duckdb.DuckDBPyConnection, table: pa.Table, declared: Sequence[Column], keys: _Keys, row_mask: RowMask, zone: str | None
) -> pa.Table:
    columns = {column.name: column for column in declared}
    form = RecordForm(times=keys.made)
    cells, made = [], {}
    for time in keys.made:
        column = columns[time.column]
        if time.column not in time.columns:
            _refuse_doubled(table.column(time.column), time, row_mask)
        values = joined(con, [table.column(name) for name in time.columns])
        if time.column in keys.renamed:
            made[time.column] = values
            continue
        spelling = form.spelling(time.column, zone=zone)
        value = value_of_text(RAW, column.type, spelling=spelling)
        cells.append(ColumnCoercion(column=column, raw=values.cast(pa.string()), value=value, spelling=spelling))
    if cells:
        read = coerce(con, cells, row_mask)
        made |= dict(zip(read.column_names, read.columns, strict=True))
    arrays = [made[column.name] if column.name in made else table.column(column.name) for column in declared]
    return pa.table(arrays, names=[column.name for column in declared])


def _refuse_doubled(values: pa.ChunkedArray, time: TimeForm, row_mask: RowMask) -> None:
    rows = np.flatnonzero(pc.is_valid(values).to_numpy())
    parts = " and ".join(repr(name) for name in time.columns)
    reason = f"column {time.column!r} is made of {parts}, and the record has a key of that name as well"
    row_mask.refuse(rows, code="ambiguous_column", column=time.column, reason=reason)


def _filled(
    con: duckdb.DuckDBPyConnection,
    table: pa.Table,
    columns: Sequence[Column],
    form: RecordForm,
    path: Mapping[str, str | None],
    row_mask: RowMask,
    zone: str | None,
) -> pa.Table:
    """The columns of the path, where a record has no value of its own."""
    for column in columns:
        own = table.column(column.name)
        if path.get(column.name) is None or not own.null_count:
            continue
        alone, raw = RowMask(1), pa.chunked_array([pa.array([path[column.name]], pa.string())])
        value = coerce(con, [text_cell(column, raw, form.spelling(column.name, zone=zone))], alone).column(0)
        refusals = alone.refused()
        if refusals.num_rows:
            rows = np.flatnonzero(pc.is_null(own).to_numpy())
            refusal = refusals.to_pylist()[0]
            row_mask.refuse(rows, code=refusal["code"], column=column.name, reason=refusal["reason"])
            continue
        filled = pc.fill_null(own, value[0].cast(own.type) if value.type != own.type else value[0])
        table = table.set_column(table.column_names.index(column.name), column.name, filled)
    return table


class PathExtras:
    """Undeclared columns with those of the path among them. Implements `undeclared_columns.Extras`."""

    def __init__(self, inner: Extras, path: Mapping[str, str], rows: int) -> None:
        self._inner, self._path, self._rows = inner, path, rows

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._inner.names(), *self._path)))

    def column(self, name: str) -> RawColumn:
        if name not in self._path:
            return self._inner.column(name)
        values = pa.chunked_array([pa.repeat(pa.scalar(self._path[name], pa.string()), self._rows)])
        if name not in self._inner.names():
            return RawColumn(values=values)
        own = self._inner.column(name)
        strings = None if own.is_string is None else pc.fill_null(own.is_string, False)
        return replace(own, values=pc.coalesce(own.values.cast(pa.string()), values), is_string=strings)

    def shapes(self, good: Rows) -> Iterator[ColumnPattern]:
        left = good
        for shape in self._inner.shapes(good) if self._inner.names() and len(good) else ():
            left = np.setdiff1d(left, shape.rows)
            yield replace(shape, names=tuple(dict.fromkeys((*shape.names, *self._path))))
        if len(left):
            yield ColumnPattern(names=tuple(self._path), rows=left)
