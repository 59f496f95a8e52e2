"""Sensors tick as often as they are declared to, in step with the daemon that asks for the ticks."""

from __future__ import annotations

import pytest

from timestore_assets.orchestration.sensor_pace import least_seconds

LOOKS = 5
"""Seconds between two looks of Dagster's daemon."""


@pytest.mark.parametrize(("every", "ticks"), [(1, 60), (3, 60), (5, 60), (10, 30), (15, 20), (30, 10), (60, 5)])
@pytest.mark.parametrize("late", [0.0, 0.01, 1.5])
def test_a_sensor_ticks_every_so_many_seconds_although_ticks_begin_a_little_after_the_look(
    every: int, ticks: int, late: float
) -> None:
    begun: list[float] = []
    for look in range(60):
        now = look * LOOKS + 0.001 * (look % 3)
        if not begun or now - begun[-1] >= least_seconds(every):
            begun.append(now + late)
    assert len(begun) == ticks


def test_an_interval_is_never_nothing() -> None:
    assert least_seconds(1) == 1
