"""Which stretches of a bucket's keys a look goes through: the newest times at every look, the older ones round by round."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.time_path import TimePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Addresses between two, both excluded; `before` None means to the end."""

    name: str
    after: str = ""
    before: str | None = None


def stretches(dataset: Dataset, times: TimePath | None, now: datetime) -> tuple[Stretch, ...]:
    """The stretches of a source; one that knows no time in its path has a single one.

    The newest begins a window before the one that `late.allowed` keeps open, and ends where times are out of range. Nothing
    before the dataset's start is in any.
    """
    if times is None:
        return (Stretch(name="all"),)
    end = dataset.upper_bound(now)
    current = dataset.window.start_of(now - dataset.late.allowed)
    newest = max(dataset.window.start_of(current - timedelta(microseconds=1)), dataset.start)
    if newest >= end:
        after, before = times.bounds(dataset.start, end)
        return (Stretch(name="older", after=after, before=before),)
    after, before = times.bounds(newest, end)
    first, _ = times.bounds(dataset.start, newest)
    older = (Stretch(name="older", after=first, before=after),) if first < after else ()
    return (Stretch(name="newest", after=after, before=before), *older)
