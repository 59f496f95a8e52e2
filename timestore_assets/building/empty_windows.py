"""Windows of a finished dataset in which no rows arrived: when that can be said, and which they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from timestore_assets.building.needs import SourceProgress
from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import Partition


def has_ended(dataset: Dataset, now: datetime) -> bool:
    """Whether the declared end, and what rows may be late, has passed."""
    return dataset.end is not None and dataset.end + dataset.late.allowed < now


def is_complete(
    records: Sequence[PartitionRecord], *, dataset: Dataset, feeds: SourceProgress, quiet: timedelta, now: datetime
) -> bool:
    """Whether a dataset seems to hold all that it ever will.

    Its end has passed, rows have landed, no source has anything pending, every row is built, and nothing was published for
    `quiet`. Rows may come all the same; they are landed and built as ever.
    """
    if not has_ended(dataset, now) or feeds.pending_files or feeds.delivering:
        return False
    if any(record.deltas or record.retracted for record in records):
        return False
    published = [record.newest_at for record in records if record.newest_at is not None]
    return bool(published) and max(published) + quiet < now


def empty_windows(records: Sequence[PartitionRecord], dataset: Dataset) -> Iterator[Partition]:
    """The windows from start to end that hold no rows, in order of time; none for a dataset without an end."""
    if dataset.end is None:
        return
    filled = {record.partition.start for record in records if record.rows or record.state == "expired"}
    for partition in dataset.window.between(dataset.start, dataset.end):
        if partition.start not in filled:
            yield partition
