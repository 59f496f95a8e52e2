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
from timestore_assets.model.schema import Column, Schema
from timestore_assets.segments.projection import projection, references


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
        inputs = (number for column in schema if column.expression for number in references(column.expression))
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

        Codes: `ambiguous_column` for a record with a value of before and one of today, `bad_value` where nothing can be computed.
        """
        earlier = {name: column for name, column in {**self.beside, **self.in_place}.items() if name in table.column_names}
        if not earlier:
            return table
        own = table.drop_columns(list(earlier))
        targets = [one for one in self._targets() if any(_is_input(column, one) for column in earlier.values())]
        for column, values in zip(targets, self._computed(con, table, earlier, targets, row_mask), strict=True):
            # a record without any value of before is none of before, whatever the expression makes of nulls
            has_any = _any_valid([table.column(name) for name, one in earlier.items() if _is_input(one, column)])
            own = _with_value(own, column, pc.if_else(has_any, values, pa.scalar(None, values.type)), row_mask)
        return own

    def _targets(self) -> list[Column]:
        """Columns of today that values of before become."""
        earlier = (*self.beside.values(), *self.in_place.values())
        return [one for one in self.schema if any(_is_input(column, one) for column in earlier)]

    def _computed(
        self,
        con: duckdb.DuckDBPyConnection,
        table: pa.Table,
        earlier: Mapping[str, Column],
        targets: Sequence[Column],
        row_mask: RowMask,
    ) -> list[pa.ChunkedArray]:
        skipped = {column.name for column in targets}.difference(earlier)
        known = ((name, earlier.get(name) or self.schema.find(name)) for name in table.column_names if name not in skipped)
        written = Schema(columns=tuple(replace(one, name=name, origin="declared") for name, one in known if one is not None))
        wanted = [replace(column, origin="declared") for column in targets]
        read = table.select(list(written.names))
        con.register("landing_earlier", read)
        try:
            strict = projection(wanted, schema=self.schema, written=written, strict=True)
            return list(con.sql(strict.over("landing_earlier")).to_arrow_table().columns)
        except duckdb.DataError:
            lenient = projection(wanted, schema=self.schema, written=written)
            found = list(con.sql(lenient.over("landing_earlier")).to_arrow_table().columns)
        finally:
            con.unregister("landing_earlier")
        for column, values in zip(targets, found, strict=True):
            inputs = [read.column(name) for name, one in earlier.items() if _is_input(one, column)]
            lost = np.flatnonzero(pc.and_(pc.is_null(values), _any_valid(inputs)).to_numpy())
            reason = f"the value of {column.name!r} can't be computed from what the record has"
            row_mask.refuse(lost, code="bad_value", column=column.name, reason=reason)
        return found


def as_sent(schema: Schema) -> tuple[Column, ...]:
    """The columns of a schema as far as a record must have them: not those that may be computed of what it has."""
    earlier = EarlierValues.of(schema, None)
    return tuple(column for column in earlier.declared(schema.columns) if schema.find(column.name) is not None)


def _means_otherwise(column: Column, schema: Schema) -> bool:
    """Whether a name of before stands for another column by now, or for none that its values could still become."""
    now = schema.find(column.name) or schema.former_names.get(column.name)
    if now is not None:
        return bool(now.id and column.id and now.id != column.id)
    return any(one.id == column.id for one in schema)


def _is_input(earlier: Column, column: Column) -> bool:
    """Whether values of an earlier column become values of one of today."""
    return earlier.id == column.id or earlier.id in references(column.expression or "")


def _with_value(table: pa.Table, column: Column, values: pa.ChunkedArray, row_mask: RowMask) -> pa.Table:
    if column.name not in table.column_names:
        return table.append_column(column.name, values)
    own = table.column(column.name)
    both = np.flatnonzero(pc.and_(pc.is_valid(own), pc.is_valid(values)).to_numpy())
    reason = f"the record has a value of {column.name!r} and one that it would be computed from"
    row_mask.refuse(both, code="ambiguous_column", column=column.name, reason=reason)
    at = table.column_names.index(column.name)
    return table.set_column(at, column.name, pc.coalesce(own, values.cast(own.type)))


def _any_valid(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = pc.is_valid(columns[0])
    for column in columns[1:]:
        found = pc.or_(found, pc.is_valid(column))
    return found
