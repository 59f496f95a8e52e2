"""How far a file reaches in time, and what follows from that: the length of partitions, and where a finished dataset ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from timestore_assets.cli.proposal.sample import TABLE, Sample
from timestore_assets.cli.proposal.time_forms import TimeGuess
from timestore_assets.decoding.coercion import in_calendar
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window

if TYPE_CHECKING:
    import duckdb

ROWS_A_PARTITION = 2_000
"""A window with fewer rows makes files too small to be worth a partition of their own."""
MOST_ROWS_A_PARTITION = 20_000_000
FINISHED_AFTER = timedelta(days=365)
"""Data whose newest row is older than this is taken for finished."""
_WINDOWS = ((Window.DAY, 1), (Window.MONTH, 30), (Window.YEAR, 365))
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """`first`, `last`: smallest and largest time. `whole`: of the whole file, not of its beginning alone. `rows`: records between
    them, as far as is known."""

    first: datetime
    last: datetime
    rows: int
    whole: bool = True


def extent_of(con: duckdb.DuckDBPyConnection, sample: Sample, time: TimeGuess) -> Extent:
    """The times of a file: of all its records, or as its footer has them, else of the part that was read.

    Raises:
        InputError: none of the values is a time.
    """
    query = f"SELECT min(t), max(t) FROM (SELECT {in_calendar('t')} AS t FROM (SELECT {time.sql} AS t FROM {TABLE}))"
    first, last = con.execute(query).fetchone() or (None, None)
    if first is None:
        raise InputError(f"column {time.name!r} has no value that is a time")
    seen = Extent(first=first.replace(tzinfo=UTC), last=last.replace(tzinfo=UTC), rows=sample.rows, whole=sample.complete)
    if sample.complete:
        return seen
    known = sample.ranges.get(time.name) if time.is_usual else None
    if known is not None:
        return Extent(first=known[0], last=known[1], rows=sample.estimated_rows)
    falls = f"SELECT count(*) FROM (SELECT t < lag(t) OVER () AS falls FROM (SELECT {time.sql} AS t FROM {TABLE})) WHERE falls"
    in_order = con.execute(falls).fetchone() == (0,)
    # out of order, the beginning of a file shows about all of its time and not all of its rows
    return Extent(first=seen.first, last=seen.last, rows=sample.rows if in_order else sample.estimated_rows, whole=False)


def suggest_window(extent: Extent) -> Window:
    """The shortest window that holds thousands of rows at the file's density; of so few that none does, all is one partition."""
    span = extent.last - extent.first
    if extent.rows < 2 or span < _SECOND:
        return Window.DAY
    a_day = extent.rows / (span / timedelta(days=1))
    if a_day > MOST_ROWS_A_PARTITION:
        return Window.HOUR
    return next((window for window, days in _WINDOWS if a_day * days >= ROWS_A_PARTITION), Window.ALL)


def suggest_end(extent: Extent, window: Window, now: datetime) -> datetime | None:
    """Where a dataset ends that nothing seems to be added to any more; None for one that may go on."""
    if not extent.whole or now - extent.last < FINISHED_AFTER:
        return None
    window = Window.YEAR if window is Window.ALL else window
    return window.after(window.start_of(extent.last))
