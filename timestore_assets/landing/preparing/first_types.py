"""Undeclared columns whose types don't widen: each has the type of its first value, the contract says what becomes of others.

Records are judged as if each came alone: what one decides counts for those behind it, and one that is refused decides nothing.
So the split into batches doesn't matter here either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.column_names import case_twin
from timestore_assets.decoding.rejections import RowMask, Rows
from timestore_assets.decoding.undeclared_columns import ColumnPattern, Extras, TableExtras
from timestore_assets.landing.preparing.inferred_types import NON_FINITE, fits, join, raw_texts
from timestore_assets.model.contract import ContractMode, frozen_reason
from timestore_assets.model.errors import FrozenSchemaError
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import ColumnType

_ALL_ROWS = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Misfits:
    """Values that don't fit a column's type: in which rows, and what they look like."""

    name: str
    kind: ColumnType
    rows: Rows


class FirstTypes:
    """Judges the undeclared columns of one batch. `mode`: what becomes of a value that doesn't fit."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, extras: Extras, row_mask: RowMask, *, schema: Schema, mode: ContractMode
    ) -> None:
        self._con, self._extras, self._row_mask = con, extras, row_mask
        self._schema, self._mode = schema, mode
        self._texts: dict[str, pa.Table] = {}
        self._discarded: dict[str, npt.NDArray[np.bool_]] = {}
        self.added: dict[str, tuple[ColumnType, int]] = {}
        """New columns with their type and the row that decided it, in order."""

    def judge(self, known: Sequence[str], new: Sequence[str], *, allowance: Callable[[], int]) -> None:
        """Judge values of columns that the schema has, then those of new ones, of which so many may still be added.

        Raises:
            FrozenSchemaError: a value does not fit, and the mode is `freeze`.
        """
        for name in known:
            self._hold(name, self._schema.column(name).type, after=_ALL_ROWS)
        if new:
            self._admit(new, allowance())

    def values(self, name: str) -> pa.ChunkedArray | None:
        """The raw texts of a column, without what was discarded; None when no good row has any."""
        texts = self._table(name).column("text")
        gone = self._discarded.get(name)
        if gone is not None:
            texts = pc.if_else(pa.array(gone), pa.scalar(None, texts.type), texts)
            texts = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])
        kept = self._row_mask.keep(pa.table({"t": texts})).column(0)
        return None if kept.null_count == len(kept) else texts

    def discarded(self) -> dict[str, int]:
        """How many values of good rows are left out, by column."""
        counts = {name: int((gone & self._row_mask.good()).sum()) for name, gone in self._discarded.items()}
        return {name: count for name, count in counts.items() if count}

    def text(self, name: str, row: int) -> str:
        """The text of one value."""
        return str(self._table(name).column("text")[row].as_py())

    # --- values of columns with a type

    def _table(self, name: str) -> pa.Table:
        if name not in self._texts:
            self._texts[name] = raw_texts(self._con, self._extras.column(name))
        return self._texts[name]

    def _hold(self, name: str, kind: ColumnType, *, after: int) -> None:
        """Keep a column to its type in all rows behind one."""
        classes = self._table(name).column("class")
        self._refuse_non_finite(name, after=after)
        fitting = pc.is_in(classes, value_set=pa.array([*fits(kind), None], classes.type))
        rows = np.flatnonzero(pc.invert(fitting).to_numpy() & self._row_mask.good())
        rows = rows[rows > after]
        if len(rows):
            self._settle(_Misfits(name=name, kind=kind, rows=rows))

    def _settle(self, found: _Misfits) -> None:
        name, kind = found.name, found.kind
        if self._mode == "freeze":
            raise FrozenSchemaError(frozen_reason(f"a value of column {name[:60]!r} is no {kind}"))
        if self._mode == "discard_value":
            self._discarded.setdefault(name, np.zeros(self._row_mask.rows, dtype=bool))[found.rows] = True
            return
        reason = f"the value in column {name[:60]!r} is no {kind} and `types: {self._mode}` keeps the type"
        self._row_mask.refuse(found.rows, code="bad_value", column=name, reason=reason)

    def _refuse_non_finite(self, name: str, *, after: int) -> None:
        rows = np.flatnonzero(pc.fill_null(pc.equal(self._table(name).column("class"), NON_FINITE), False).to_numpy())
        reason = f"the number in column {name[:60]!r} is not finite"
        self._row_mask.refuse(rows[rows > after], code=NON_FINITE, column=name, reason=reason)

    # --- new columns

    def _admit(self, new: Sequence[str], limit: int) -> None:
        if isinstance(self._extras, TableExtras):
            for name in new:  # JSON has no such numbers, and may have very many keys
                self._refuse_non_finite(name, after=_ALL_ROWS)
        waiting = _shapes_of(self._extras, self._row_mask, frozenset(new))
        closed: list[ColumnPattern] = []
        while (first := self._first(waiting)) is not None:
            row, index = first
            if self._problem(waiting[index], limit) is not None:
                closed.append(waiting.pop(index))
            else:
                self._refuse_closed(closed, limit, before=row)
                self._decide(row, self._new(waiting[index]))
        self._refuse_closed(closed, limit, before=self._row_mask.rows)

    def _new(self, shape: ColumnPattern) -> list[str]:
        return [name for name in shape.names if name not in self.added]

    def _first(self, shapes: Sequence[ColumnPattern]) -> tuple[int, int] | None:
        """The first good row that has columns which nothing has decided yet, and the place of its shape."""
        good = self._row_mask.good()
        found = []
        for index, shape in enumerate(shapes):
            rows = shape.rows[good[shape.rows]] if self._new(shape) else shape.rows[:0]
            if len(rows):
                found.append((int(rows[0]), index))
        return min(found, default=None)

    def _problem(self, shape: ColumnPattern, limit: int) -> tuple[str, str, str] | None:
        """Why its columns can't be added: code, column, reason. What can't be once can't be later: the limit only shrinks."""
        new, others = self._new(shape), [*self._schema.names, *self.added]
        twin = next((name for name in new if case_twin(name, others)), None)
        if twin is not None:
            return "ambiguous_column", twin, f"column {twin[:60]!r} differs from {case_twin(twin, others)!r} only by case"
        left = limit - len(self.added)
        if len(new) > left:
            return "too_many_columns", min(new), f"{len(new):,} new columns, of which {max(0, left)} may still be added today"
        return None

    def _refuse_closed(self, shapes: Sequence[ColumnPattern], limit: int, *, before: int) -> None:
        for shape in shapes:
            if problem := self._problem(shape, limit):
                code, column, reason = problem
                self._row_mask.refuse(shape.rows[shape.rows < before], code=code, column=column, reason=reason)

    def _decide(self, row: int, names: Sequence[str]) -> None:
        """Let a row decide the types of new columns, unless it is refused for one of their values."""
        classes = {name: self._table(name).column("class")[row].as_py() for name in names}
        bad = next((name for name, found in classes.items() if found == NON_FINITE), None)
        if bad is not None:
            reason = f"the number in column {bad[:60]!r} is not finite"
            self._row_mask.refuse(np.array([row]), code=NON_FINITE, column=bad, reason=reason)
            return
        for name, found in classes.items():
            self.added[name] = (join({found}), row)
        for name in names:
            self._hold(name, self.added[name][0], after=row)


def _shapes_of(extras: Extras, row_mask: RowMask, new: frozenset[str]) -> list[ColumnPattern]:
    """Rows that have values in the same new columns."""
    if not row_mask.good_rows:
        return []
    shapes = (
        ColumnPattern(names=tuple(name for name in shape.names if name in new), rows=shape.rows)
        for shape in extras.shapes(row_mask.good_indices())
    )
    return [shape for shape in shapes if shape.names]
