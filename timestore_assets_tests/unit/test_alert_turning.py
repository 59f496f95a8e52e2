"""What measurements make of an alert, one look after the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.alerting.conditions import Measurement
from timestore_assets.alerting.turning import turned
from timestore_assets.catalog.alerts import AlertState
from timestore_assets.model.alert import Alert

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = Alert(on="lag", to=("a",), above=10)
LONG_ENOUGH = Alert(on="lag", to=("a",), above=10, hold=timedelta(minutes=5))
KEPT = Alert(on="lag", to=("a",), above=10, keep=timedelta(minutes=10))
REMINDING = Alert(on="lag", to=("a",), above=10, remind=timedelta(minutes=30))


def told(alert: Alert, *looks: tuple[int, int]) -> list[tuple[int, str]]:
    """What people are told, with the minute, by looks of (minute, records of lag)."""
    state: AlertState | None = None
    found: list[tuple[int, str]] = []
    for minute, lag in looks:
        reading = Measurement(is_firing=lag > alert.above, value=str(lag), sentence="")
        turn = turned(alert, reading, state, now=BEGIN + timedelta(minutes=minute))
        if turn is not None:
            state = turn.after
            found += [(minute, turn.told)] if turn.told else []
    return found


SWINGING = ((0, 5), (1, 11), (2, 9), (3, 11), (4, 9), (5, 11))


def test_without_more_said_each_swing_is_told() -> None:
    assert told(PLAIN, *SWINGING) == [(1, "firing"), (2, "recovered"), (3, "firing"), (4, "recovered"), (5, "firing")]


@pytest.mark.parametrize(
    ("alert", "looks", "expected"),
    [
        pytest.param(LONG_ENOUGH, SWINGING, [], id="a swing is none that held"),
        pytest.param(LONG_ENOUGH, ((0, 11), (4, 11), (5, 11), (6, 11)), [(5, "firing")], id="held"),
        pytest.param(LONG_ENOUGH, ((0, 5), (1, 11), (5, 9), (6, 11), (10, 11), (11, 11)), [(11, "firing")], id="begins anew"),
        pytest.param(LONG_ENOUGH, ((0, 11), (5, 11), (6, 9)), [(5, "firing"), (6, "recovered")], id="ends at once"),
        pytest.param(KEPT, SWINGING, [(1, "firing")], id="a swing is no end"),
        pytest.param(KEPT, ((0, 11), (1, 9), (10, 9), (11, 9), (12, 9)), [(0, "firing"), (11, "recovered")], id="ended"),
        pytest.param(KEPT, ((0, 11), (1, 9), (9, 11), (10, 9), (19, 9)), [(0, "firing")], id="held again meanwhile"),
        pytest.param(
            REMINDING,
            ((0, 11), (29, 11), (30, 12), (59, 12), (61, 12), (70, 5), (200, 5)),
            [(0, "firing"), (30, "reminder"), (61, "reminder"), (70, "recovered")],
            id="told again while it goes on",
        ),
        pytest.param(REMINDING, ((0, 11), (1000, 11), (1001, 11)), [(0, "firing"), (1000, "reminder")], id="one for a long gap"),
    ],
)
def test_what_is_told(alert: Alert, looks: tuple[tuple[int, int], ...], expected: list[tuple[int, str]]) -> None:
    assert told(alert, *looks) == expected


def test_nobody_is_reminded_while_an_alert_is_about_to_end() -> None:
    alert = Alert(on="lag", to=("a",), above=10, keep=timedelta(minutes=60), remind=timedelta(minutes=30))
    assert told(alert, (0, 11), (20, 9), (40, 9), (50, 11)) == [(0, "firing"), (50, "reminder")]


def test_an_alert_of_before_reminders_is_told_again_by_when_it_began() -> None:
    before = AlertState(is_firing=True, value="11", since=BEGIN)
    reading = Measurement(is_firing=True, value="12", sentence="")
    assert turned(REMINDING, reading, before, now=BEGIN + timedelta(minutes=29)) is None
    turn = turned(REMINDING, reading, before, now=BEGIN + timedelta(minutes=30))
    assert turn is not None and (turn.told, turn.after.since) == ("reminder", BEGIN)
