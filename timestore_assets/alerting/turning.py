"""When an alert begins, ends, or is told again: pure, from how it stood and what is measured now.

An alert waits before it turns as Prometheus does: `for` until it begins, `keep` until it ends. What was measured in between
counts only if somebody looked: the condition held at each look since `pending_since`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from timestore_assets.alerting.conditions import Measurement
from timestore_assets.catalog.alerts import AlertState
from timestore_assets.model.alert import Alert

Told = Literal["firing", "recovered", "changed", "reminder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """`after`: how the alert stands from now on. `told`: what people are told, None for nothing."""

    after: AlertState
    told: Told | None = None


def turned(alert: Alert, reading: Measurement, before: AlertState | None, *, now: datetime) -> Turn | None:
    """What the measurement makes of an alert; None when it stays as it stands. `before`: None when nobody has looked yet."""
    if alert.on == "schema":
        return _changed(reading, before, now)
    if before is None:
        quiet = AlertState(is_firing=False, value=reading.value, since=now)
        return _differing(alert, reading, quiet, now) if reading.is_firing else Turn(after=quiet)
    if reading.is_firing != before.is_firing:
        return _differing(alert, reading, before, now)
    if before.is_firing and alert.remind is not None and now - (before.told_at or before.since) >= alert.remind:
        return Turn(after=replace(before, pending_since=None, told_at=now), told="reminder")
    return None if before.pending_since is None else Turn(after=replace(before, pending_since=None))


def _changed(reading: Measurement, before: AlertState | None, now: datetime) -> Turn | None:
    if before is not None and before.value == reading.value:
        return None
    after = AlertState(is_firing=False, value=reading.value, since=now, told_at=now)
    return Turn(after=after, told=None if before is None else "changed")  # what there was at the first look is nothing new


def _differing(alert: Alert, reading: Measurement, before: AlertState, now: datetime) -> Turn | None:
    """The condition says otherwise than the alert: it turns, once that has lasted long enough."""
    wait = alert.hold if reading.is_firing else alert.keep
    if wait > timedelta(0):
        if before.pending_since is None:
            return Turn(after=replace(before, pending_since=now))
        if now - before.pending_since < wait:
            return None
    after = AlertState(is_firing=reading.is_firing, value=reading.value, since=now, told_at=now)
    return Turn(after=after, told="firing" if reading.is_firing else "recovered")
