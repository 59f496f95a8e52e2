"""A source's watermark moved on by rows that are not landed yet, by the rule that landing follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.tailing.held_rows import Run


def moved_on(
    landed: datetime | None,
    topics: Sequence[TopicPartition],
    runs: Mapping[int, Run],
    *,
    idle: timedelta,
    now: datetime,
) -> datetime | None:
    """The watermark when everything held would be landed: never before `landed`, never after `now`.

    It is the smallest newest time of the topic partitions, those left out that have been quiet for `idle` and hold nothing new.
    One that never had a record, and is not idle, can deliver anything: then it stays where it is.
    """
    delivering = [one for one in topics if one.id in runs and (one.quiet < idle or runs[one.id].end > one.position)]
    newest = [_newest(one, runs[one.id]) for one in delivering]
    known = [time for time in newest if time is not None]
    if not known or len(known) < len(newest):
        return landed
    reached = min(min(known), now)
    return reached if landed is None else max(landed, reached)


def _newest(one: TopicPartition, run: Run) -> datetime | None:
    return max((time for time in (one.newest, run.newest) if time is not None), default=None)
