"""`--from` and `--to`: a time range as several commands take it."""

from __future__ import annotations

from datetime import datetime

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time


def span(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Both ends as times, None where none is given.

    Raises:
        InputError: a text is no time, or the range is empty.
    """
    first, last = parse_time(start) if start else None, parse_time(end) if end else None
    if first and last and first >= last:
        raise InputError(f"--from {start} is not before --to {end}")
    return first, last
