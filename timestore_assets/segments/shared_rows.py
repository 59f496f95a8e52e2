"""Rows of one segment in an object that it shares with others, as SQL: which rows of the file are its own.

They are told by their number in the file, not by their time: that needs no column, says the same whatever the columns are called,
and DuckDB passes over row groups by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timestore_assets.model.segment import NewSegment

ROW_NUMBER = "file_row_number"
"""What DuckDB calls the number of a row in its Parquet file; a column of that name would be in the way."""
_LISTED = 4
"""Ranges that are compared one after the other; among more the right one is searched for."""

Range = tuple[int, int]
"""First row, and the one behind the last."""


def row_ranges(segments: Iterable[NewSegment]) -> list[Range]:
    """Rows of an object that belong to some of the segments that share it, in order; what follows each other is one range."""
    own = sorted((one.first_row, one.first_row + one.rows) for one in segments if one.first_row is not None)
    joined: list[Range] = []
    for first, end in own:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def among(ranges: Sequence[Range]) -> str:
    """SQL condition: a row of the file lies in one of the ranges, of which there is at least one and which are in order."""
    whole = _between((ranges[0][0], ranges[-1][1]))
    return whole if len(ranges) == 1 else f"{whole} AND ({_searched(ranges)})"


def _searched(ranges: Sequence[Range]) -> str:
    if len(ranges) <= _LISTED:
        return " OR ".join(map(_between, ranges))
    middle = len(ranges) // 2
    below, above = _searched(ranges[:middle]), _searched(ranges[middle:])
    return f"CASE WHEN {ROW_NUMBER} < {ranges[middle][0]} THEN {below} ELSE {above} END"


def _between(one: Range) -> str:
    return f"{ROW_NUMBER} BETWEEN {one[0]} AND {one[1] - 1}"
