"""A dataset's partitions as Dagster's: same windows, same keys, in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Partition, Window

_CRON = {Window.HOUR: "0 * * * *", Window.DAY: "0 0 * * *", Window.WEEK: "0 0 * * 1", Window.MONTH: "0 0 1 * *"}
PARTITIONS_PER_RUN = {Window.HOUR: 336, Window.DAY: 128, Window.WEEK: 52, Window.MONTH: 24}
"""Partitions one build run takes: enough to spread the seconds a run costs to start, few enough for two runs to share a year."""


def partitions_def(dataset: Dataset) -> dg.TimeWindowPartitionsDefinition:
    """The partitions of a dataset.

    The current window is one of them (`end_offset=1`; Dagster leaves it out by default). A dataset with an `end` has exactly
    the windows up to it.
    """
    end = None
    if dataset.end is not None:
        end = dataset.window.after(dataset.window.start_of(dataset.end - timedelta(microseconds=1)))
    return dg.TimeWindowPartitionsDefinition(
        start=dataset.window.start_of(dataset.start),
        end=end,
        fmt=dataset.window.key_format,
        cron_schedule=_CRON[dataset.window],
        timezone="UTC",
        end_offset=1,
    )


def known_partition(dataset: Dataset, key: str) -> Partition | None:
    """The partition of a key, or None when the dataset has no such partition (Dagster records any text as a key)."""
    try:
        return dataset.partition(key)
    except InputError:
        return None


def reached(partition: Partition, now: datetime) -> bool:
    """Whether Dagster has the partition by now; rows may already lie in later ones (`future_allowed`)."""
    return partition.start <= now
