"""Wall-clock times of a zone to UTC, as DuckDB SQL: the first of two for an ambiguous time, NULL for one that never was."""

from __future__ import annotations

from timestore_assets.model.types import literal

UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Z", "GMT", "Etc/GMT"})


def local_to_utc(local: str, zone: str) -> str:
    """SQL for the UTC TIMESTAMP of a naive TIMESTAMP expression in an IANA zone.

    A wall-clock time stands for every instant that the zone shows it at. Those can only lie at the offsets that hold a day
    before and a day after, since zones do not change twice within two days; each is tried, and the earlier kept. That asks
    for no more of ICU than its offsets: of two instants it picks one by itself, and a time inside a gap it moves on silently.
    """
    if zone in UTC_NAMES:
        return local
    candidates = [_candidate("local", zone, f"INTERVAL ({days}) DAY") for days in (-1, 1)]
    # least() leaves NULLs out
    return bound(local, "local", f"least({', '.join(candidates)})")


def bound(value: str, name: str, expression: str) -> str:
    """SQL for an expression in which `name` stands for `value`, which is computed once however often the name occurs."""
    return f"list_transform([{value}], lambda {name}: {expression})[1]"


def _candidate(local: str, zone: str, shift: str) -> str:
    near = f"({local} + {shift})"
    instant = f"({local} - ({_wall_clock(near, zone)} - {near}))"
    return bound(instant, "instant", f"CASE WHEN {_wall_clock('instant', zone)} = {local} THEN instant END")


def _wall_clock(utc: str, zone: str) -> str:
    """What clocks in the zone show at a naive UTC time."""
    return f"timezone({literal(zone)}, timezone('UTC', {utc}))"
