"""How often Dagster is told to look, so that it really looks that often."""

from __future__ import annotations

_SLACK_SECONDS = 2
"""A tick begins somewhat after the look of the daemon that asked for it."""


def least_seconds(every: int) -> int:
    """The minimum interval of a sensor that is to tick every so many seconds.

    The daemon looks every five seconds, and passes over a sensor whose last tick began less than its interval before: with an
    interval of just five every second look comes some milliseconds too early, and the sensor ticks every ten.
    """
    return max(1, every - _SLACK_SECONDS)
