"""Records with values as they were before a migration: read as what they were, and turned into what they are now.

What was stored is computed when it is read, so what is sent in the old way is computed when it lands, by the same expressions.
A value under a name that only the earlier column had tells by itself what it is. A name that has got another meaning does not:
there it counts by which version of the schema the record was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing.default_values import need_not_be_there
from timestore_assets.model.schema import Column, Schema, references
from timestore_assets.segments.projection import projection


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierValues:
    """Columns of before that records may have. `schema`: the present one."""

    schema: Schema
    beside: Mapping[str, Column]
    """By names that mean nothing else now."""
    in_place: Mapping[str, Column]
    """By names that have another meaning now."""

    @classmethod
    def of(cls, schema: Schema, then: Schema | None) -> EarlierValues:
        """`then`: the schema whose names the records go by, None for the present one."""
        if not schema.was_migrated:
            return cls(schema=schema, beside={}, in_place={})
        retired = {column.id: column for column in schema.retired}
        inputs = {number for column in schema for number in _inputs(column, schema)}
        taken = {*schema.names, *schema.former_names}
        beside = {retired[one].name: retired[one] for one in inputs if one in retired and retired[one].name not in taken}
        in_place = {column.name: column for column in then or () if _means_otherwise(column, schema)}
        return cls(schema=schema, beside={name: one for name, one in beside.items() if name not in in_place}, in_place=in_place)

    def __bool__(self) -> bool:
        return bool(self.beside or self.in_place)

    def declared(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """What records are decoded as, of the columns that they would be without this."""
        if not self:
            return tuple(columns)
        made = {column.name: column for column in columns}
        # what is computed need not be there
        made |= {one.name: replace(one, nullable=True) for one in self._targets() if one.name in made}
        earlier = {**self.beside, **self.in_place}
        made |= {name: replace(column, nullable=True, origin="declared", aliases=()) for name, column in earlier.items()}
        return tuple(made.values())

    def applied(self, con: duckdb.DuckDBPyConnection, table: pa.Table, row_mask: RowMask) -> pa.Table:
        """Decoded records with the columns of today.

        Where a record has a value of today, what it would be computed from is left alone. Codes: `ambiguous_column` for a record
        with one column's value under two names, `bad_value` where nothing can be computed.
        """
        earlier = {name: column for name, column in {**self.beside, **self.in_place}.items() if name in table.column_names}
        if not earlier:
            return table
        # ids rise with time, so what one of them is computed from comes before it
        for name, column in sorted(earlier.items(), key=lambda one: one[1].id):
            if any(one.id != column.id and self._is_input(one, column) for one in earlier.values()):
                [values] = self._computed(con, table, earlier, [column], row_mask)
                table = _with_value(table, replace(column, name=name), values, None)
        own = table.drop_columns(list(earlier))
        targets = [one for one in self._targets() if any(self._is_input(column, one) for column in earlier.values())]
        for column, values in zip(targets, self._computed(con, table, earlier, targets, row_mask), strict=True):
            is_same = any(one.id == column.id for one in earlier.values())
            own = _with_value(own, column, values, row_mask if is_same else None)
        return own

    def _targets(self) -> list[Column]:
        """Columns of today that values of before become."""
        earlier = (*self.beside.values(), *self.in_place.values())
        return [one for one in self.schema if any(self._is_input(column, one) for column in earlier)]

    def _is_input(self, earlier: Column, column: Column) -> bool:
        """Whether values of an earlier column become values of one of today."""
        return earlier.id == column.id or earlier.id in _inputs(column, self.schema)

    def _computed(
        self,
        con: duckdb.DuckDBPyConnection,
        table: pa.Table,
        earlier: Mapping[str, Column],
        targets: Sequence[Column],
        row_mask: RowMask,
    ) -> list[pa.ChunkedArray]:
        known = {name: earlier.get(name) or self.schema.find(name) for name in table.column_names}
        computed, asked = {one.id for one in targets if one.expression is not None}, {one.id for one in targets}
        there = (
            (name, one)
            for name, one in known.items()
            if one is not None and one.id not in (computed if name in earlier else asked)
        )
        written = Schema(columns=tuple(replace(one, name=name, origin="declared") for name, one in there))
        wanted = [replace(column, origin="declared") for column in targets]
        read = table.select(list(written.names))
        con.register("landing_earlier", read)
        try:
            strict, failed = projection(wanted, schema=self.schema, written=written, strict=True), False
            found = list(con.sql(strict.over("landing_earlier")).to_arrow_table().columns)
        except duckdb.DataError:
            lenient, failed = projection(wanted, schema=self.schema, written=written), True
            found = list(con.sql(lenient.over("landing_earlier")).to_arrow_table().columns)
        finally:
            con.unregister("landing_earlier")
        made = []
        for column, values in zip(targets, found, strict=True):
            sent = [name for name, one in earlier.items() if self._is_input(one, column) and name in read.column_names]
            # a record without any value of before is none of before, whatever the expression makes of nulls
            has_any = _any_valid([read.column(name) for name in sent])
            if failed:
                lost = np.flatnonzero(pc.and_(pc.is_null(values), has_any).to_numpy())
                reason = f"the value of {column.name!r} can't be computed from what the record has"
                row_mask.refuse(lost, code="bad_value", column=column.name, reason=reason)
            made.append(pc.if_else(has_any, values, pa.scalar(None, values.type)))
        return made


def as_sent(schema: Schema) -> tuple[Column, ...]:
    """The columns of a schema as far as a record must have them: not those that may be computed of what it has."""
    earlier = EarlierValues.of(schema, None)
    columns = need_not_be_there(earlier.declared(schema.columns))
    return tuple(column for column in columns if schema.find(column.name) is not None)


def _means_otherwise(column: Column, schema: Schema) -> bool:
    """Whether a name of before stands for another column by now, or for none that its values could still become."""
    now = schema.find(column.name) or schema.former_names.get(column.name)
    if now is not None:
        return bool(now.id and column.id and now.id != column.id)
    return any(one.id == column.id for one in schema)


def _inputs(column: Column, schema: Schema) -> set[int]:
    """Ids of the retired columns that a column is computed from, also by way of others that were computed."""
    retired = {one.id: one for one in schema.retired}
    found: set[int] = set()
    waiting = [column]
    while waiting:
        for number in references(waiting.pop().expression or ""):
            if number in retired and number not in found:
                found.add(number)
                waiting.append(retired[number])
    return found


def _with_value(table: pa.Table, column: Column, values: pa.ChunkedArray, row_mask: RowMask | None) -> pa.Table:
    """`row_mask`: refuse in it what has another value already; None: that is the one that counts."""
    if column.name not in table.column_names:
        return table.append_column(column.name, values)
    own = table.column(column.name)
    if row_mask is not None:
        both = np.flatnonzero(pc.and_(pc.is_valid(own), pc.is_valid(values)).to_numpy())
        reason = f"the record has a value of {column.name!r} under two names"
        row_mask.refuse(both, code="ambiguous_column", column=column.name, reason=reason)
    at = table.column_names.index(column.name)
    return table.set_column(at, column.name, pc.coalesce(own, values.cast(own.type)))


def _any_valid(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = pc.is_valid(columns[0])
    for column in columns[1:]:
        found = pc.or_(found, pc.is_valid(column))
    return found
