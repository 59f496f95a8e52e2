"""When landing pauses and when it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from timestore_assets.landing.topics.backpressure import Backlog, Threshold, Thresholds, should_pause

MARKS = Thresholds(
    deltas=Threshold(high=100, low=40), bytes=Threshold(high=1_000_000_000, low=500_000_000), builds=Threshold(high=20, low=10),
    commit_ms=Threshold(high=5000, low=0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("backlog", "paused", "waits"),
    [
        ({"deltas": 99}, False, False),
        ({"deltas": 100}, False, True),
        ({"deltas": 41}, True, True),
        ({"deltas": 40}, True, False),
        ({"bytes": 1_000_000_000}, False, True),
        ({"bytes": 600_000_000}, False, False),
        ({"bytes": 600_000_000}, True, True),
        ({"builds": 20}, False, True),
        ({"builds": 11}, True, True),
        ({"builds": 10}, True, False),
        ({"commit_ms": 5000}, False, True),
        ({"commit_ms": 4999}, False, False),
        ({"commit_ms": 60_000}, True, False),
        ({"deltas": 100, "builds": 5}, False, True),
    ],
)
def test_marks(backlog: dict[str, Any], paused: bool, waits: bool) -> None:
    assert bool(should_pause(Backlog(**backlog), MARKS, paused=paused)) is waits


def test_the_reason_says_what_waits_and_when_it_goes_on() -> None:
    reason = should_pause(Backlog(deltas=1200, bytes=2_500_000_000), MARKS, paused=False)
    assert reason == "1,200 unbuilt deltas and 2,500 MB unbuilt; it goes on below 40 deltas and 500 MB"
    slow = should_pause(Backlog(commit_ms=7300), MARKS, paused=False)
    assert slow == "the last commit took 7.3 s; it is tried again after a pause"
