"""Records whose fields have names that columns had before: read as those columns, so that producers may change one by one.

A record, or a file, that has a column under both names is ambiguous.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.decoding.undeclared_columns import ColumnPattern, Extras, RawColumn
from timestore_assets.model.errors import BadFileError
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Column


def without_outdated(column: Column, now: datetime) -> Column:
    """The column with those of its former names that are still taken."""
    if all(one.until is None or one.until > now for one in column.aliases):
        return column
    return replace(column, aliases=tuple(one for one in column.aliases if one.until is None or one.until > now))


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerNames:
    """Columns by the names that they had before, without names that mean something else now."""

    columns: Mapping[str, Column]

    @classmethod
    def of(cls, columns: Sequence[Column], form: RecordForm) -> FormerNames:
        """`form`: a name that it takes for a field of its own is no former name here."""
        if not any(column.aliases for column in columns):
            return NONE
        taken = {column.name for column in columns} | form.named_fields
        elsewhere = {path.column for path in form.fields} | {time.column for time in form.times if time.columns}
        found: dict[str, Column] = {}
        for column in columns:
            if column.name not in elsewhere:
                found |= {one.name: column for one in column.aliases if one.name not in taken}
        return cls(columns=found)

    def __bool__(self) -> bool:
        return bool(self.columns)

    def current(self, names: Sequence[str], *, what: str = "file") -> tuple[str, ...]:
        """The names of a file's fields with those that columns have now.

        Raises:
            BadFileError: `ambiguous_column`: a column is there twice.
        """
        found: dict[str, str] = {}
        for name in names:
            now = self.columns[name].name if name in self.columns else name
            if now in found and now != name:
                raise BadFileError("ambiguous_column", f"{_both(now, name, what)}; remove one of them from the {what}")
            if now in found and found[now] != name:
                raise BadFileError("ambiguous_column", f"{_both(now, found[now], what)}; remove one of them from the {what}")
            found[now] = name
        return tuple(self.columns[name].name if name in self.columns else name for name in names)

    def renamed(self, table: pa.Table) -> pa.Table:
        """A batch of a format with a header under the names that columns have now; errors as `current`."""
        return table.rename_columns(list(self.current(table.column_names))) if self else table

    def path(self, path: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Values of columns that stand in a file's path, under the names that columns have now."""
        return {self.columns[name].name if name in self.columns else name: text for name, text in path.items()}

    def beside(self, form: RecordForm) -> tuple[list[Column], RecordForm]:
        """Declared columns to read from documents beside those of today, one for each former name, and the form with theirs."""
        columns = [
            replace(column, name=name, nullable=True) for name, column in self.columns.items() if column.origin == "declared"
        ]
        times = [
            replace(time, column=name) for name, column in self.columns.items() if (time := form.time_of(column.name)) is not None
        ]
        return columns, replace(form, times=(*form.times, *times)) if times else form

    def joined(self, table: pa.Table, row_mask: RowMask) -> pa.Table:
        """What was read beside, put into the columns of today; a record with a value in both is refused."""
        for name, column in self.columns.items():
            if name not in table.column_names:
                continue
            own, former = table.column(column.name), table.column(name)
            table = table.drop_columns([name])
            if former.null_count == len(former):
                continue
            both = np.flatnonzero(pc.and_(pc.is_valid(own), pc.is_valid(former)).to_numpy())
            row_mask.refuse(both, code="ambiguous_column", column=column.name, reason=_both(column.name, name, "record"))
            at = table.column_names.index(column.name)
            table = table.set_column(at, column.name, pc.coalesce(own, former.cast(own.type)))
        return table

    def extras(self, extras: Extras, row_mask: RowMask) -> Extras:
        """Undeclared columns of documents under the names that they have now; a record with a value under both is refused."""
        undeclared = {name: one.name for name, one in self.columns.items() if one.origin == "inferred"}
        present = {name: now for name, now in undeclared.items() if name in extras.names()}
        for name, now in present.items():
            if now in extras.names():
                there = pc.and_(pc.is_valid(extras.column(name).values), pc.is_valid(extras.column(now).values))
                row_mask.refuse(
                    np.flatnonzero(there.to_numpy()), code="ambiguous_column", column=now, reason=_both(now, name, "record")
                )
        return RenamedExtras(extras, present) if present else extras


NONE = FormerNames(columns={})


def _both(name: str, former: str, what: str) -> str:
    return f"column {name!r} was called {former[:60]!r} before, and the {what} has both"


class RenamedExtras:
    """Undeclared columns of which some have former names. Implements `undeclared_columns.Extras`."""

    def __init__(self, inner: Extras, names: Mapping[str, str]) -> None:
        """`names`: of today, by those that the records have."""
        self._inner, self._names = inner, names

    def names(self) -> tuple[str, ...]:
        return self._now(self._inner.names())

    def column(self, name: str) -> RawColumn:
        there = self._inner.names()
        found = [self._inner.column(one) for one in there if self._names.get(one, one) == name]
        if len(found) == 1:
            return found[0]
        values = pc.coalesce(*(one.values.cast(pa.string()) for one in found))
        strings = [one.is_string for one in found]
        joined = pc.coalesce(*strings) if all(one is not None for one in strings) else None
        return RawColumn(values=values, is_string=joined)

    def shapes(self, good: Rows) -> Iterator[ColumnPattern]:
        for shape in self._inner.shapes(good):
            yield replace(shape, names=self._now(shape.names))

    def _now(self, names: Collection[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._names.get(name, name) for name in names))
