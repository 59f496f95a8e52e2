"""Needs as the ranges of run requests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from timestore_assets.building.needs import Need
from timestore_assets.model.window import Window
from timestore_assets.orchestration.building.build_sensor import contiguous


def need(key: str, *, closes: bool = True, window: Window = Window.DAY) -> Need:
    return Need(partition=window.parse_key(key), reason=f"reason of {key}", closes=closes)


def test_neighbours_make_one_range_and_a_gap_ends_it() -> None:
    first, second = contiguous([need("2024-01-05"), need("2024-01-01"), need("2024-01-02")], at_most=10)
    assert (first.first.key, first.last.key, second.first.key) == ("2024-01-01", "2024-01-02", "2024-01-05")
    assert first.reason == "reason of 2024-01-01; 1 more like it"
    assert second.reason == "reason of 2024-01-05"


def test_months_of_different_length_are_neighbours() -> None:
    keys = ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]
    [found] = contiguous([need(key, window=Window.MONTH) for key in keys], at_most=12)
    assert [partition.key for partition in found.partitions] == keys


def test_a_range_is_cut_where_it_becomes_too_long() -> None:
    days = list(Window.DAY.between(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC)))
    found = contiguous([Need(partition=day, reason="", closes=True) for day in days], at_most=3)
    assert [len(run.needs) for run in found] == [3, 3, 1]


def test_partitions_to_seal_and_partitions_to_leave_open_do_not_share_a_range() -> None:
    found = contiguous([need("2024-01-01"), need("2024-01-02", closes=False)], at_most=5)
    assert [run.closes for run in found] == [True, False]


def test_no_needs_make_no_ranges_and_an_empty_range_is_refused() -> None:
    assert contiguous([], at_most=5) == []
    with pytest.raises(ValueError, match="at least one"):
        contiguous([need("2024-01-01")], at_most=0)
