"""Retractions as conditions: what they leave out of rows, beside a plain model."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import duckdb
import pytest

from timestore_assets.model.retraction import NOTHING, Retracted, Retraction, sources_of, whole, wholly_retracted
from timestore_assets.segments.retracted_rows import hidden_by, may_hold, provenance_read, shown_by
from timestore_assets_tests.unit.test_building_plan import delta

ROWS = list(product((1, 2, 3), range(6), (5, 6, 7)))
"""Source partition, position, session."""
RANGE = Retraction(source=1, first=2, end=4, last_session=6)
CASES: dict[str, Retracted] = {
    "whole": whole({1, 3}),
    "range": frozenset({RANGE}),
    "no lower bound": frozenset({replace(RANGE, first=None)}),
    "no upper bound": frozenset({replace(RANGE, end=None)}),
    "any session": frozenset({replace(RANGE, last_session=None)}),
    "from zero": frozenset({Retraction(source=2, first=0, end=1, last_session=5)}),
    "several": frozenset({RANGE, replace(RANGE, first=5, end=6), Retraction(source=3)}),
}


def is_hidden(row: tuple[int, int, int], retracted: Retracted) -> bool:
    source, position, session = row
    return any(
        one.source == source
        and (one.first is None or one.first <= position)
        and (one.end is None or position < one.end)
        and (one.last_session is None or session <= one.last_session)
        for one in retracted
    )


@pytest.mark.parametrize("retracted", CASES.values(), ids=CASES)
def test_conditions_leave_out_just_what_a_retraction_names(retracted: Retracted) -> None:
    values = ", ".join(map(str, ROWS))
    with duckdb.connect() as con:
        rows = f"FROM (VALUES {values}) AS rows(__source, __position, __session)"
        shown = con.sql(f"{rows} WHERE {shown_by(retracted)}").fetchall()
        hidden = con.sql(f"{rows} WHERE {hidden_by(retracted)}").fetchall()
    assert sorted(shown) == [row for row in ROWS if not is_hidden(row, retracted)]
    assert sorted(hidden) == [row for row in ROWS if is_hidden(row, retracted)]


def test_whole_source_partitions_keep_the_plain_form() -> None:
    assert shown_by(whole({3, 1})) == "__source NOT IN (1, 3)"
    assert provenance_read(whole({3})) == ("__source",)
    assert provenance_read(frozenset({RANGE})) == ("__source", "__position", "__session")
    assert provenance_read(NOTHING) == ()


def test_a_segment_may_hold_rows_of_what_it_lists_or_when_it_lists_nothing() -> None:
    assert may_hold(delta(1, sources=(1, 2)), frozenset({RANGE}))
    assert may_hold(delta(1, sources=()), frozenset({RANGE}))
    assert not may_hold(delta(1, sources=(2,)), frozenset({RANGE}))
    assert not may_hold(delta(1, sources=()), NOTHING)


def test_only_a_retraction_without_bounds_is_whole() -> None:
    assert wholly_retracted(CASES["several"]) == {3}
    assert sources_of(CASES["several"]) == {1, 3}
    assert not any(one.is_whole for one in (RANGE, replace(RANGE, first=None, end=None)))
