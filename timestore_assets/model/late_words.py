"""How late records were, in words: lateness is kept as the power of two of seconds that it reaches."""

from __future__ import annotations

_UNITS = (("y", 365 * 86_400), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def at_least_seconds(lateness: int) -> int:
    """The seconds that records of this lateness were late at least."""
    return 1 << lateness if lateness else 0


def below_seconds(lateness: int) -> int:
    """The seconds that they were late less than."""
    return 2 << lateness


def how_late(lateness: int) -> str:
    """The upper bound of a lateness: `< 18 h`."""
    return f"< {_rounded(below_seconds(lateness))}"


def lateness_range(lateness: int) -> str:
    """Both bounds of a lateness: `9.1 h to 18 h`."""
    return f"{_rounded(at_least_seconds(lateness))} to {_rounded(below_seconds(lateness))}" if lateness else how_late(0)


def _rounded(seconds: int) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            value = seconds / size
            return f"{value:,.0f} {unit}" if value >= 10 or value == round(value) else f"{value:.1f} {unit}"
    return "0 s"
