"""Columns of a batch that the declaration does not name: which rows hold which, and the raw text of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.rejections import Rows

_BLOCK_BYTES = 32_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnPattern:
    """Rows that have values (not null) in exactly these undeclared columns. `rows`: rising batch indices."""

    names: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class RawColumn:
    """An undeclared column's values, one for each row of the batch: texts, or typed values not yet turned into them.

    `type_name`: what the format says they are (`bool`, `int64`, `double`, `string`); None when it must be told from each
    text. Then `is_string`, if given, marks the rows whose value the format wrote as a string, an object or an array.
    """

    values: pa.ChunkedArray
    type_name: str | None = None
    is_string: pa.ChunkedArray | None = None


class Extras(Protocol):
    """The undeclared columns of one batch."""

    def names(self) -> tuple[str, ...]:
        """Columns with at least one value, in order of appearance."""

    def shapes(self, good: Rows) -> Iterator[ColumnPattern]:
        """The given rows that have any value in these columns, grouped; groups in order of their first row."""

    def column(self, name: str) -> RawColumn: ...


class TableExtras:
    """Undeclared columns of a format with a header. `raw_column` makes the raw text of one when it is wanted."""

    def __init__(self, table: pa.Table, raw_column: Callable[[pa.ChunkedArray], RawColumn]) -> None:
        self._table, self._raw_column = table, raw_column

    def names(self) -> tuple[str, ...]:
        columns = zip(self._table.column_names, self._table.columns, strict=True)
        return tuple(name for name, column in columns if column.null_count < len(column))

    def column(self, name: str) -> RawColumn:
        return self._raw_column(self._table.column(name))

    def shapes(self, good: Rows) -> Iterator[ColumnPattern]:
        names = self.names()
        if not names:
            return
        columns = [self._table.column(name) for name in names]
        groups: dict[bytes, list[Rows]] = {}
        for rows in _blocks(good, max(1, _BLOCK_BYTES // len(names))):
            _group(columns, rows, groups)
        for packed, parts in groups.items():
            bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=len(names)).astype(bool)
            if bits.any():
                yield ColumnPattern(names=tuple(np.array(names, dtype=object)[bits]), rows=np.concatenate(parts))


def _blocks(rows: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _group(columns: Sequence[pa.ChunkedArray], rows: Rows, groups: dict[bytes, list[Rows]]) -> None:
    """Add rows to the groups of those with values in the same columns, new groups in order of their first row."""
    valid = np.empty((len(rows), len(columns)), dtype=bool)
    first, length = int(rows[0]), int(rows[-1] - rows[0]) + 1
    for index, column in enumerate(columns):
        valid[:, index] = _valid(column.slice(first, length))[rows - first]
    packed = np.packbits(valid, axis=1)
    keys, starts, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    for group in np.argsort(starts):
        groups.setdefault(keys[group].tobytes(), []).append(rows[inverse == group])


def _valid(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.is_valid(column).to_numpy()
    return mask
