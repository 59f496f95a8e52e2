"""One file for many small windows of a commit: which of them share it, and writing it.

A file of its own costs a window a millisecond and two syncs, however few rows it has; in a shared one it costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.segments.partition_rows import Microseconds
from timestore_assets.segments.shared_rows import ROW_NUMBER
from timestore_assets.segments.writer import WrittenFile, write_delta_file

SMALL_ROWS = 4_000
"""Windows of fewer rows share a file, ..."""
MANY_WINDOWS = 32
"""... where a commit has so many of them."""
FILE_ROWS = 1_000_000
"""Of a shared file at most: so much is kept as long as one of its windows is not built."""
ROW_GROUP_ROWS = 20_000
"""What is decoded at least to read one window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRows:
    """The rows of a window in a shared file, one after the other. Times in microseconds since 1970."""

    first_row: int
    rows: int
    min_time: int
    max_time: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedFile:
    """A finished file and whose rows are in it, in order of time."""

    written: WrittenFile
    windows: tuple[WindowRows, ...]

    def share_of(self, window: WindowRows) -> int:
        """Bytes of the file that count as the window's, which add up to all of them."""
        size, rows = self.written.bytes, max(1, self.written.rows)
        return size * (window.first_row + window.rows) // rows - size * window.first_row // rows


def together(sizes: Sequence[int], columns: Iterable[str]) -> list[list[int]]:
    """Which windows share a file, by their place in the order of time; one list for each file. The others have their own.

    `sizes`: rows of each window in that order. `columns`: of the rows as stored.
    """
    small = [place for place, rows in enumerate(sizes) if rows < SMALL_ROWS]
    if len(small) < MANY_WINDOWS or any(name.lower() == ROW_NUMBER for name in columns):
        return []
    groups: list[list[int]] = [[]]
    rows = 0
    for place in small:
        if rows + sizes[place] > FILE_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(place)
        rows += sizes[place]
    return groups


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowBlock:
    """Rows of windows that follow one another in a shared file. `starts`: where each window's begin, and the end of the last."""

    table: pa.Table
    starts: npt.NDArray[np.int64]


def write_shared(
    blocks: Iterable[WindowBlock],
    path: Path,
    *,
    time: str,
    unprunable: Sequence[str] = (),
    field_ids: Mapping[str, int] | None = None,
) -> SharedFile:
    """Write blocks, in order of time, as one file. `time`: name of the time column; others and errors as `write_delta_file`."""
    windows: list[WindowRows] = []

    def tables() -> Iterator[pa.Table]:
        before = 0
        for block in blocks:
            windows.extend(_windows(block, time, before))
            before += block.table.num_rows
            yield block.table

    written = write_delta_file(tables(), path, unprunable=unprunable, field_ids=field_ids, row_group_rows=ROW_GROUP_ROWS)
    return SharedFile(written=written, windows=tuple(windows))


def _windows(block: WindowBlock, time: str, before: int) -> list[WindowRows]:
    """The windows of a block that has so many rows before it in the file."""
    times = times_of(block.table, time)
    firsts = block.starts[:-1]
    lowest, highest = np.minimum.reduceat(times, firsts), np.maximum.reduceat(times, firsts)
    rows = np.diff(block.starts)
    facts = zip((firsts + before).tolist(), rows.tolist(), lowest.tolist(), highest.tolist(), strict=True)
    return [WindowRows(first_row=first, rows=many, min_time=low, max_time=high) for first, many, low, high in facts]


def times_of(table: pa.Table, time: str) -> Microseconds:
    """The times of stored rows, in microseconds since 1970."""
    found: Microseconds = table.column(time).cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)
    return found


def runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Places that follow one another, as the first and the one behind the last of each run."""
    numbers = np.asarray(places)
    borders = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(numbers, borders) if len(run)]
