"""A dataset's Dagster partitions have the keys and windows of the dataset itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import TIMESTAMP
from timestore_assets.model.window import Window
from timestore_assets.orchestration.building.build_asset import known_partition, partitions_def, reached

START = datetime(2024, 2, 28, 5, tzinfo=UTC)
SCHEMA = Schema(columns=(Column(name="at", type=TIMESTAMP),))


def dataset(window: Window, *, start: datetime = START, end: datetime | None = None) -> Dataset:
    return Dataset(name="events", schema=SCHEMA, time="at", start=start, end=end, window=window)


@pytest.mark.parametrize("window", list(Window))
def test_keys_are_those_of_the_dataset(window: Window) -> None:
    declared = dataset(window)
    now = datetime(2024, 4, 3, 7, 30, tzinfo=UTC)
    keys = partitions_def(declared).get_partition_keys(current_time=now)
    assert keys == [partition.key for partition in window.between(START, now)]


@pytest.mark.parametrize("window", [window for window in Window if window is not Window.ALL])
def test_windows_are_those_of_the_dataset(window: Window) -> None:
    definition = partitions_def(dataset(window))
    assert isinstance(definition, dg.TimeWindowPartitionsDefinition)
    now = datetime(2024, 3, 20, tzinfo=UTC)
    for partition in list(window.between(START, now))[:40]:
        found = definition.time_window_for_partition_key(partition.key)
        assert (found.start, found.end) == (partition.start, partition.end)


def test_weeks_begin_on_monday() -> None:
    keys = partitions_def(dataset(Window.WEEK)).get_partition_keys(current_time=datetime(2024, 3, 12, tzinfo=UTC))
    assert keys == ["2024-02-26", "2024-03-04", "2024-03-11"]


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (datetime(2024, 4, 1, tzinfo=UTC), "2024-03-01"),
        (datetime(2024, 4, 1, 1, tzinfo=UTC), "2024-04-01"),
        (datetime(2024, 3, 31, 23, tzinfo=UTC), "2024-03-01"),
    ],
)
def test_an_end_closes_the_list(end: datetime, last: str) -> None:
    definition = partitions_def(dataset(Window.MONTH, end=end))
    assert definition.get_partition_keys(current_time=datetime(2030, 1, 1, tzinfo=UTC))[-1] == last


def test_a_key_of_another_window_is_no_partition() -> None:
    declared = dataset(Window.MONTH)
    assert known_partition(declared, "2024-03-01") is not None
    assert [known_partition(declared, key) for key in ("2024-03-02", "2020-01-01", "all", "")] == [None] * 4


def test_partitions_of_the_future_are_not_reached() -> None:
    now = datetime(2024, 3, 3, 12, tzinfo=UTC)
    assert reached(Window.DAY.partition(now), now)
    assert not reached(Window.DAY.partition(now + timedelta(days=1)), now)
