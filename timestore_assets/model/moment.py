"""Times as people write them when they ask: an instant, a year or month, or how long ago.

What is declared or stored has exact times (`window.parse_time`); a question may be asked again tomorrow.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import parse_time

_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1}
_PARTIAL = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
_DISTANCE = re.compile(
    r"(?P<from>now|today|yesterday|tomorrow)?\s*(?P<sign>[+-])\s*(?P<number>[0-9]{1,6})\s*(?P<unit>mo|[smhdwqy])"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
PATTERN = r"^(now|today|yesterday|tomorrow|[+-][0-9]{1,3}(mo|[smhdwqy])|[1-9][0-9]{3}(-(0[1-9]|1[0-2]))?)$"
"""Of the texts that are no ISO 8601 time: those that every reader of a schema should know."""


def parse_moment(text: str, *, now: datetime | None = None) -> datetime:
    """An instant in UTC from what a person writes.

    ISO 8601 (without a zone in UTC); `2015` and `2015-12`, their first moment; `now`; `today`, `yesterday`, `tomorrow`, the
    midnight (UTC) at which they begin; `-30d`, `+1h`, `-3mo`, `yesterday-1w`: so far from now or from that, in `s`, `m`
    (minutes), `h`, `d`, `w`, `mo`, `q`, `y`. Months and years go by the calendar, and end on its last day where it is shorter.

    Args:
        now: what is now, aware; the clock's time by default.

    Raises:
        InputError: the text is none of these, or names a time outside the years 1 to 9999.
    """
    asked = text.strip().lower()
    now = (now or datetime.now(UTC)).astimezone(UTC)
    if asked == "now" or asked in _DAYS:
        return _named(asked, now)
    if match := _DISTANCE.fullmatch(asked):
        number = int(match["sign"] + match["number"])
        try:
            return _moved(_named(match["from"] or "now", now), number, match["unit"])
        except (OverflowError, ValueError):
            raise InputError(f"{text!r} lies outside the years 1 to 9999") from None
    if match := _PARTIAL.fullmatch(asked):
        asked = f"{match[1]}-{match[2] or '01'}-01"
    try:
        return parse_time(asked.upper())
    except InputError as error:
        if "lies outside" in str(error):
            raise InputError(str(error).replace(asked.upper(), text, 1)) from None
        raise InputError(
            f"{text!r} is not a time; write for instance 2013-01-01, 2013-01-01T06:00:00Z, 2013-01, 2013, now, yesterday or -30d"
        ) from None


def is_relative(text: str) -> bool:
    """Whether a text that is a time is another one when it is read tomorrow."""
    asked = text.strip().lower()
    return asked == "now" or asked in _DAYS or _DISTANCE.fullmatch(asked) is not None


def _named(name: str, now: datetime) -> datetime:
    if name == "now":
        return now
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=_DAYS[name])


def _moved(time: datetime, number: int, unit: str) -> datetime:
    if unit in _SECONDS:
        return time + timedelta(seconds=number * _SECONDS[unit])
    year, month = divmod(time.year * 12 + time.month - 1 + number * _MONTHS[unit], 12)
    first = time.replace(year=year, month=month + 1, day=1)
    return first.replace(day=min(time.day, monthrange(year, month + 1)[1]))
