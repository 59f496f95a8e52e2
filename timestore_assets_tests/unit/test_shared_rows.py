"""Which windows share a file, and which of its rows are a segment's."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.segment import NewSegment
from timestore_assets.segments.shared_file import FILE_ROWS, MANY_WINDOWS, SMALL_ROWS, runs, together
from timestore_assets.segments.shared_rows import among, row_ranges

COLUMNS = ("ts", "value")
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def rows_at(first: int, rows: int) -> NewSegment:
    return NewSegment(
        name="shared.parquet",
        partition_start=NOON,
        kind="delta",
        format="parquet",
        rows=rows,
        bytes=rows,
        min_time=NOON,
        max_time=NOON,
        schema_version=1,
        first_row=first,
    )


def test_few_small_windows_have_files_of_their_own_and_many_share_one() -> None:
    assert together([1] * (MANY_WINDOWS - 1), COLUMNS) == []
    assert together([1] * MANY_WINDOWS, COLUMNS) == [list(range(MANY_WINDOWS))]


def test_large_windows_stay_by_themselves() -> None:
    sizes = [SMALL_ROWS, *[1] * MANY_WINDOWS, SMALL_ROWS]
    assert together(sizes, COLUMNS) == [list(range(1, MANY_WINDOWS + 1))]
    assert together([SMALL_ROWS] * 100, COLUMNS) == []


def test_a_shared_file_does_not_grow_without_end() -> None:
    sizes = [SMALL_ROWS - 1] * 600
    groups = together(sizes, COLUMNS)
    assert len(groups) == 3 and [place for group in groups for place in group] == list(range(600))
    assert all(sum(sizes[place] for place in group) <= FILE_ROWS for group in groups)


@pytest.mark.parametrize("name", ["file_row_number", "File_Row_Number"])
def test_a_column_that_is_called_as_the_row_number_keeps_windows_apart(name: str) -> None:
    assert together([1] * MANY_WINDOWS, ("ts", name)) == []


def test_places_that_follow_one_another_are_a_run() -> None:
    assert runs([0, 1, 2, 5, 7, 8]) == [(0, 3), (5, 6), (7, 9)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.booleans()), min_size=1, max_size=60))
def test_the_condition_lets_through_just_the_rows_of_the_chosen_segments(pieces: list[tuple[int, int, bool]]) -> None:
    at, segments, wanted = 0, [], set[int]()
    for gap, rows, is_chosen in pieces:
        at += gap
        if is_chosen:
            segments.append(rows_at(at, rows))
            wanted |= set(range(at, at + rows))
        at += rows
    if not segments:
        return
    condition = among(row_ranges(reversed(segments)))
    found = duckdb.sql(f"SELECT file_row_number FROM (SELECT range AS file_row_number FROM range({at + 5})) WHERE {condition}")
    assert {row[0] for row in found.fetchall()} == wanted
