"""When a dataset holds all that it ever will, and which of its windows stayed without rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timestore_assets.building.empty_windows import empty_windows, is_complete
from timestore_assets.building.needs import SourceProgress
from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.model.dataset import Dataset, Late
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import TIMESTAMP
from timestore_assets.model.window import Window

DAY = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 1, 4, 12, tzinfo=UTC)
NOW = datetime(2024, 2, 1, tzinfo=UTC)
QUIET = timedelta(seconds=20)
DATASET = Dataset(
    name="readings",
    schema=Schema(columns=(Column(name="ts", type=TIMESTAMP),)),
    time="ts",
    start=DAY + timedelta(hours=6),
    end=END,
)


def record(day: int, **changes: Any) -> PartitionRecord:
    """A sealed partition that was built a minute ago."""
    start = DAY + timedelta(days=day - 1)
    plain = PartitionRecord(
        partition=Window.DAY.partition(start),
        state="sealed",
        rows=100,
        bytes=1000,
        segments=1,
        deltas=0,
        unbuilt_rows=0,
        unbuilt_bytes=0,
        oldest_delta_at=None,
        min_time=start,
        max_time=start,
        schema_version=1,
        superseded_rows=0,
        retracted=False,
        content_hash="0" * 32,
        manifest_version=1,
        newest_at=NOW - timedelta(minutes=1),
    )
    return replace(plain, **changes)


def complete(*records: PartitionRecord, dataset: Dataset = DATASET, feeds: SourceProgress | None = None) -> bool:
    return is_complete(records, dataset=dataset, feeds=feeds or SourceProgress(), quiet=QUIET, now=NOW)


def test_a_dataset_that_has_ended_is_built_and_is_quiet_is_complete() -> None:
    assert complete(record(1), record(2))


@pytest.mark.parametrize(
    ("records", "dataset", "feeds"),
    [
        ([], DATASET, SourceProgress()),
        ([record(1)], replace(DATASET, end=None), SourceProgress()),
        ([record(1)], replace(DATASET, end=NOW + timedelta(days=1)), SourceProgress()),
        ([record(1)], replace(DATASET, late=Late(allowed=timedelta(days=60))), SourceProgress()),
        ([record(1)], DATASET, SourceProgress(pending_files=1)),
        ([record(1)], DATASET, SourceProgress(delivering=True)),
        ([record(1), record(2, deltas=1)], DATASET, SourceProgress()),
        ([record(1), record(2, retracted=True)], DATASET, SourceProgress()),
        ([record(1), record(2, newest_at=NOW - timedelta(seconds=10))], DATASET, SourceProgress()),
        ([record(1, rows=0, newest_at=None)], DATASET, SourceProgress()),
    ],
    ids=[
        "no rows",
        "no end",
        "running",
        "late rows",
        "pending file",
        "delivering",
        "unbuilt",
        "retracted",
        "just now",
        "emptied",
    ],
)
def test_it_is_not_complete_while_something_may_come(
    records: list[PartitionRecord], dataset: Dataset, feeds: SourceProgress
) -> None:
    assert not complete(*records, dataset=dataset, feeds=feeds)


def test_empty_are_the_windows_from_start_to_end_without_rows() -> None:
    records = [record(1), record(3, rows=0), record(4, rows=0, state="expired")]
    assert [partition.key for partition in empty_windows(records, DATASET)] == ["2024-01-02", "2024-01-03"]
    assert [partition.key for partition in empty_windows([], DATASET)] == [f"2024-01-0{day}" for day in range(1, 5)]
    assert list(empty_windows(records, replace(DATASET, end=None))) == []


def test_the_only_window_of_a_dataset_that_has_one_is_empty_without_rows() -> None:
    whole = replace(DATASET, window=Window.ALL)
    assert [partition.key for partition in empty_windows([], whole)] == ["all"]
