"""Types of Parquet and Arrow files that hide how far or how large their values are, read so that both is known.

INT96 times have days that reach further than 64 bits of microseconds: what doesn't fit is told from what does. A dictionary, a
run or a view may repeat a long value for next to nothing, so what such columns hold in memory says nothing about what landing
them takes: here each value gets bytes of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

_BEYOND = (1 << 63) - 1
"""Microseconds that stand for a time they can't hold: no calendar has it, so its row is refused."""


def int96_columns(schema: pq.ParquetSchema) -> tuple[str, ...]:
    """Columns of a file, not those inside others, that are INT96."""
    columns = (schema.column(i) for i in range(len(schema)))
    return tuple(one.name for one in columns if one.physical_type == "INT96" and one.path == one.name and "." not in one.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Int96File:
    """A file whose INT96 columns are read twice: in microseconds, which Arrow lets wrap round, and in seconds, which can't."""

    micros: pq.ParquetFile
    seconds: pq.ParquetFile
    columns: tuple[str, ...]

    def read_row_groups(self, groups: list[int]) -> pa.Table:
        seconds = self.seconds.read_row_groups(groups, columns=list(self.columns))
        return self._held(self.micros.read_row_groups(groups), seconds)

    def iter_batches(self, rows: int, row_groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
        again = self.seconds.iter_batches(rows, row_groups=list(row_groups), columns=list(self.columns))
        for batch, seconds in zip(self.micros.iter_batches(rows, row_groups=list(row_groups)), again, strict=True):
            held = self._held(pa.Table.from_batches([batch]), pa.Table.from_batches([seconds]))
            yield held.combine_chunks().to_batches()[0]

    def _held(self, table: pa.Table, seconds: pa.Table) -> pa.Table:
        for name in self.columns:
            micros, place = table.column(name), table.column_names.index(name)
            whole = pc.floor_temporal(micros, unit="second").cast(pa.timestamp("s"))
            fits = pc.equal(whole, seconds.column(name))
            if pc.all(fits).as_py() is False:
                beyond = pa.scalar(_BEYOND, pa.int64()).cast(micros.type)
                table = table.set_column(place, table.schema.field(place), pc.if_else(fits, micros, beyond))
        return table


def is_compact(kind: pa.DataType) -> bool:
    """Whether values of the type may take less than their plain form does, at any depth."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind) or _is_view(kind):
        return True
    return any(is_compact(kind.field(index).type) for index in range(kind.num_fields)) if pt.is_nested(kind) else False


def resolved_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries, runs and views, at any depth."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return resolved_type(kind.value_type)
    if pt.is_string_view(kind):
        return pa.large_string()
    if pt.is_binary_view(kind):
        return pa.large_binary()
    if pt.is_struct(kind):
        return pa.struct([field.with_type(resolved_type(field.type)) for field in kind.fields])
    if pt.is_map(kind):
        return pa.map_(resolved_type(kind.key_type), resolved_type(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(resolved_type(kind.value_type)), kind.list_size)
    if pt.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(resolved_type(kind.value_type)))
    if pt.is_list(kind):
        return pa.list_(kind.value_field.with_type(resolved_type(kind.value_type)))
    return kind


def resolved(table: pa.Table) -> pa.Table:
    """The same rows, each value in bytes of its own."""
    for place, field in enumerate(table.schema):
        if is_compact(field.type):
            kind = resolved_type(field.type)
            column = table.column(place)
            column = pc.run_end_decode(column) if pt.is_run_end_encoded(field.type) else column
            table = table.set_column(place, field.with_type(kind), column.cast(kind))
    return table


def _is_view(kind: pa.DataType) -> bool:
    return bool(pt.is_string_view(kind) or pt.is_binary_view(kind))
