"""Newest times, clocks of quiet topic partitions, and what is late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.preparing.row_checks import closed_before, refuse_late
from timestore_assets.landing.topics.idle_timers import IdleTimers
from timestore_assets.landing.topics.topic_batch import newest_times
from timestore_assets.model.dataset import Late
from timestore_assets.model.window import Window
from timestore_assets_tests.support.landing_warehouse import dataset

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def times(*hours: float) -> pa.ChunkedArray:
    naive = [NOON.replace(tzinfo=None) + timedelta(hours=hour) for hour in hours]
    return pa.chunked_array([pa.array(naive, pa.timestamp("us"))])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_newest_time_of_each_source_partition() -> None:
    found = newest_times(times(1, 3, 2, -5), pa.chunked_array([[7, 7, 8, 8]]), until=NOON + timedelta(hours=9))
    assert found == {7: NOON + timedelta(hours=3), 8: NOON + timedelta(hours=2)}


def test_times_from_the_future_do_not_count() -> None:
    found = newest_times(times(1, 3, 4), pa.chunked_array([[7, 7, 8]]), until=NOON + timedelta(hours=2))
    assert found == {7: NOON + timedelta(hours=1)}


def test_quiet_time_runs_only_at_the_end() -> None:
    clock = Clock()
    clocks: IdleTimers[str] = IdleTimers(clock)
    clocks.add("a", timedelta(0))
    clock.now = 5
    assert clocks.quiet() == {"a": timedelta(0)}
    clocks.moved([], ["a"])
    clock.now = 8
    clocks.moved([], ["a"])  # still at the end: the clock goes on
    clock.now = 9
    assert clocks.quiet() == {"a": 4 * SECOND}


def test_a_record_sets_the_clock_back() -> None:
    clock = Clock()
    clocks: IdleTimers[str] = IdleTimers(clock)
    clocks.add("a", 30 * SECOND)
    clocks.moved([], ["a"])
    clock.now = 2
    assert clocks.quiet() == {"a": 32 * SECOND}
    clocks.moved(["a"], [])
    assert clocks.quiet() == {"a": timedelta(0)}
    clocks.moved(["a"], ["a"])
    clock.now = 3
    assert clocks.quiet() == {"a": SECOND}


def test_what_has_more_to_read_is_not_quiet() -> None:
    clock = Clock()
    clocks: IdleTimers[str] = IdleTimers(clock)
    clocks.add("a", 30 * SECOND)
    clocks.add("b", 30 * SECOND)
    clocks.behind(["a", "unknown"])
    clock.now = 7
    assert clocks.quiet() == {"a": timedelta(0), "b": 30 * SECOND}
    clocks.forget(["b"])
    assert clocks.quiet() == {"a": timedelta(0)}


def test_the_first_open_partition() -> None:
    declared = dataset(late=Late(allowed=timedelta(hours=13)), window=Window.DAY)
    assert closed_before(declared, None) is None
    assert closed_before(declared, NOON) == datetime(2012, 12, 31, tzinfo=UTC)
    assert closed_before(declared, NOON + timedelta(hours=1)) == datetime(2013, 1, 1, tzinfo=UTC)


def test_late_rows_are_refused_once() -> None:
    table = pa.table({"ts": times(-13, -12, 5)})
    before = datetime(2013, 1, 1, tzinfo=UTC)
    for policy, refused in (("drop", [0]), ("hold", [0]), ("correct", [])):
        row_mask = RowMask(3)
        refuse_late(table, dataset(late=Late(policy=policy)), row_mask, before=before)
        assert row_mask.refused().column("row").to_pylist() == refused
    row_mask = RowMask(3)
    refuse_late(table, dataset(late=Late(policy="drop")), row_mask, before=None)
    assert row_mask.all_good
