"""What is held of a source's topics: an immutable value, so that a query keeps what it took while reading goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.model.schema import POSITION_COLUMN, SOURCE_COLUMN, Schema
from timestore_assets.segments.partition_rows import Microseconds

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MOSTLY = 0.5
"""Of a block, the part that must have landed before the rest is copied out of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowBlock:
    """Rows as segments hold them. `written`: the schema they are in. `times`: microseconds since 1970, of each row."""

    rows: pa.Table
    written: Schema
    times: Microseconds

    @property
    def sources(self) -> Ints:
        return self._ints(SOURCE_COLUMN)

    @property
    def positions(self) -> Ints:
        return self._ints(POSITION_COLUMN)

    def _ints(self, name: str) -> Ints:
        values: Ints = self.rows.column(name).to_numpy()
        return values

    def where(self, mask: Mask) -> RowBlock:
        """The rows that the mask lets through; the block itself when those are all."""
        if mask.all():
            return self
        return replace(self, rows=self.rows.filter(pa.array(mask)), times=self.times[mask])

    def joined(self, other: RowBlock) -> RowBlock:
        """Both as one; they must be in the same schema."""
        rows = pa.concat_tables([self.rows, other.rows]).combine_chunks()
        return replace(self, rows=rows, times=np.concatenate([self.times, other.times]))


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetRun:
    """Offsets `[start, end)` of one source partition, of which every record is held that landing would land.

    `newest`: the newest event time among them and those that were held before them.
    """

    start: int
    end: int
    newest: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferedRows:
    """`runs`: by source partition. `pieces`: their rows in order of reading, the older ones in larger pieces."""

    pieces: tuple[RowBlock, ...] = ()
    runs: Mapping[int, OffsetRun] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(piece.rows.num_rows for piece in self.pieces)

    @property
    def bytes(self) -> int:
        return sum(piece.rows.nbytes for piece in self.pieces)

    def with_runs(self, runs: Mapping[int, OffsetRun]) -> BufferedRows:
        """A copy that holds more source partitions, of which nothing has been read yet."""
        return replace(self, runs={**self.runs, **runs})

    def with_more(self, piece: RowBlock | None, ends: Mapping[int, int], newest: Mapping[int, datetime]) -> BufferedRows:
        """A copy with what was read next: `ends` by source partition is where reading goes on.

        Pieces of similar size are joined, so that there are few of them and each row is copied few times.
        """
        pieces = [*self.pieces, *([piece] if piece is not None and piece.rows.num_rows else [])]
        while len(pieces) > 1 and _alike(pieces[-2], pieces[-1]):
            last = pieces.pop()
            pieces[-1] = pieces[-1].joined(last)
        runs = dict(self.runs)
        for part, end in ends.items():
            run = runs[part]
            runs[part] = replace(run, end=max(run.end, end), newest=_later(run.newest, newest.get(part)))
        return BufferedRows(pieces=tuple(pieces), runs=runs)

    def trimmed(self, checkpoints: Mapping[int, int]) -> BufferedRows:
        """A copy without (most of) what lies below these checkpoints, which must have been committed."""
        pieces = []
        for piece in self.pieces:
            mask = beyond(piece, checkpoints)
            kept = int(mask.sum())
            if kept:
                pieces.append(piece.where(mask) if kept < _MOSTLY * len(mask) else piece)
        runs = {
            part: replace(run, start=max(run.start, min(checkpoints.get(part, run.start), run.end)))
            for part, run in self.runs.items()
        }
        return BufferedRows(pieces=tuple(pieces), runs=runs)


def beyond(piece: RowBlock, checkpoints: Mapping[int, int]) -> Mask:
    """Which rows are of these source partitions and at their checkpoints or after them."""
    if not checkpoints:
        return np.zeros(piece.rows.num_rows, dtype=bool)
    parts = np.array(sorted(checkpoints), np.int64)
    offsets = np.array([checkpoints[part] for part in parts.tolist()], np.int64)
    at = np.minimum(np.searchsorted(parts, piece.sources), len(parts) - 1)
    mask: Mask = (parts[at] == piece.sources) & (piece.positions >= offsets[at])
    return mask


def _alike(older: RowBlock, newer: RowBlock) -> bool:
    return older.rows.num_rows <= 2 * newer.rows.num_rows and older.written == newer.written


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
