"""Which rows of a batch are still good, and why the others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]

REFUSAL_SCHEMA = pa.schema([("row", pa.int64()), ("code", pa.string()), ("column", pa.string()), ("reason", pa.string())])


class RowMask:
    """Collects the refusals of one batch; of a row refused several times the first refusal counts.

    `duplicates`: rows left out as such.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.duplicates = 0
        self._good: npt.NDArray[np.bool_] | None = None
        self._refused: list[pa.Table] = []

    @property
    def all_good(self) -> bool:
        return self._good is None

    @property
    def good_rows(self) -> int:
        return self.rows if self._good is None else int(self._good.sum())

    def good(self) -> npt.NDArray[np.bool_]:
        """A mask over the batch's rows; not to be changed."""
        return np.ones(self.rows, dtype=bool) if self._good is None else self._good

    def good_indices(self) -> Rows:
        """Indices of the good rows, rising."""
        return np.arange(self.rows) if self._good is None else np.flatnonzero(self._good)

    def leave_out(self, rows: Rows) -> None:
        """Leave out good rows as duplicates: they are neither landed nor refused."""
        self._good = self.good().copy() if self._good is None else self._good
        self.duplicates += int(self._good[rows].sum())
        self._good[rows] = False

    def refuse(self, rows: Rows, *, code: str, column: str = "", reason: str | pa.Array) -> None:
        """Refuse rows for one cause. `reason`: one sentence for all of them or an array with one for each."""
        if len(rows):
            self._add(_refusals(rows, code=code, column=column, reason=reason))

    def refuse_each(self, refusals: pa.Table) -> None:
        """Refuse rows as a table of `REFUSAL_SCHEMA` says; of equal rows the first counts."""
        if refusals.num_rows:
            self._add(refusals)

    def adopt(self, part: RowMask, rows: Rows) -> None:
        """Take over what became of good rows that were judged by themselves: none was left out. `rows`: which these are here."""
        kept = part.refused()
        self.refuse_each(kept.set_column(0, "row", pa.array(rows[kept.column("row").to_numpy()], pa.int64())))

    def _add(self, refusals: pa.Table) -> None:
        rows = refusals.column("row").to_numpy()
        first = np.zeros(len(rows), dtype=bool)
        first[np.unique(rows, return_index=True)[1]] = True
        fresh = first & self.good()[rows]
        if not fresh.any():
            return
        self._refused.append(refusals if fresh.all() else refusals.filter(pa.array(fresh)))
        self._good = self.good().copy() if self._good is None else self._good
        self._good[rows] = False

    def keep(self, table: pa.Table) -> pa.Table:
        """The good rows of a table that has one row for each of the batch; the table itself when all are good."""
        return table if self._good is None else table.filter(pa.array(self._good))

    def refused_for(self, code: str) -> int:
        """How many rows were refused for a reason."""
        return sum(pc.sum(pc.equal(table.column("code"), code)).as_py() or 0 for table in self._refused)

    def refused(self) -> pa.Table:
        """All refusals, by row."""
        if not self._refused:
            return REFUSAL_SCHEMA.empty_table()
        return pa.concat_tables(self._refused).sort_by("row")


def _refusals(rows: Rows, *, code: str, column: str, reason: str | pa.Array) -> pa.Table:
    count = len(rows)
    columns: list[Any] = [
        pa.array(rows, pa.int64()),
        pa.repeat(pa.scalar(code, pa.string()), count),
        pa.repeat(pa.scalar(column, pa.string()), count),
        pa.repeat(pa.scalar(reason, pa.string()), count) if isinstance(reason, str) else reason,
    ]
    return pa.table(columns, schema=REFUSAL_SCHEMA)
