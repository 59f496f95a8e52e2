"""Rows of a batch brought together by partition, keeping their order inside each.

Sorting by a 16-bit window number and gathering each column once costs about half of what DuckDB's partitioned COPY spends
on the same (2.5 M rows x 10 columns over 168 partitions: 0.8 s of one core with the encoding, against 1.5 to 1.9 s), and
needs no buffer per partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.model.window import Window

Microseconds = npt.NDArray[np.int64]

_PER_HOUR = 3_600_000_000
_PER_DAY = 24 * _PER_HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """`order`: row indices by window and, inside one, as they came; None when they already are so.

    `starts`: where each window's run of rows begins, and the end of the last.
    """

    order: npt.NDArray[np.uint32] | None
    starts: npt.NDArray[np.int64]

    def spans(self) -> Iterator[tuple[int, int]]:
        """First row and number of rows of each window, in order of time."""
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            yield int(start), int(end - start)

    def arrange(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column in the order of the clusters."""
        if self.order is None:
            return column
        # gathering from one chunk is much faster than from several
        whole = column.combine_chunks()
        return pa.chunked_array([whole.take(pa.array(self.order))], type=column.type) if len(whole) else column


def cluster(times: Microseconds, window: Window) -> Clusters:
    """Group times, in microseconds since 1970, by window."""
    numbers = window_numbers(times, window)
    if len(numbers) == 0:
        return Clusters(order=None, starts=np.zeros(1, dtype=np.int64))
    dense = _dense(numbers)
    if (dense[1:] >= dense[:-1]).all():
        borders = np.flatnonzero(dense[1:] != dense[:-1]) + 1
        return Clusters(order=None, starts=np.concatenate([[0], borders, [len(numbers)]]))
    order = np.argsort(dense, kind="stable")
    counts = np.bincount(dense)
    starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    return Clusters(order=order.astype(np.uint32), starts=starts)


def window_numbers(times: Microseconds, window: Window) -> npt.NDArray[np.int64]:
    """A number for each time that is equal for times of one window and rises with time."""
    if window is Window.ALL:
        return np.zeros(len(times), dtype=np.int64)
    if window is Window.HOUR:
        return times // _PER_HOUR
    days = times // _PER_DAY
    if window is Window.DAY:
        return days
    if window is Window.WEEK:
        # day 0, 1970-01-01, was a Thursday; weeks begin on Monday
        return (days + 3) // 7
    unit = "datetime64[Y]" if window is Window.YEAR else "datetime64[M]"
    return days.astype("datetime64[D]").astype(unit).astype(np.int64)


def _dense(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16] | npt.NDArray[np.int64]:
    """The same order in as few bits as possible: sorting 16-bit numbers is linear."""
    first = numbers.min()
    if numbers.max() - first < 1 << 16:
        narrow: npt.NDArray[np.uint16] = (numbers - first).astype(np.uint16)
        return narrow
    inverse: npt.NDArray[np.int64] = np.unique(numbers, return_inverse=True)[1]
    return inverse.astype(np.uint16) if inverse.max() < 1 << 16 else inverse
