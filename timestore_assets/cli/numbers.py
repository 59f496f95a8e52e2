"""Numbers as people read them: 26,115 rows, 7.9 MB, 2 min 5 s."""

from __future__ import annotations

from datetime import timedelta

NOTHING = "–"
"""What a table shows where there is no value."""


def count(number: int | None) -> str:
    """A whole number with thousands separators."""
    return NOTHING if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 partition, 12 partitions."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(byte_count: int | None) -> str:
    """Bytes in decimal units, about three digits."""
    if byte_count is None:
        return NOTHING
    value = float(byte_count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """A length of time with the precision its size deserves."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def period(length: timedelta) -> str:
    """A length of time as a declaration writes it: 30s, 10m, 1h, 5d."""
    seconds = round(length.total_seconds())
    for unit, unit_seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % unit_seconds == 0:
            return f"{seconds // unit_seconds}{unit}"
    return f"{seconds}s"


def rate(rows_per_second: float | None) -> str:
    """Rows per second, three significant digits."""
    if rows_per_second is None:
        return NOTHING
    whole = round(rows_per_second)
    return f"{round(whole, 3 - len(str(whole))) if whole >= 1000 else whole:,} rows/s"
