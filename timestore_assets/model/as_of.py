"""Which version of a dataset is meant: its number, a time at which it was in force, or a tag that somebody gave it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import is_relative, parse_moment
from timestore_assets.model.window import utc

_NUMBER = re.compile(r"[0-9]{1,16}")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
TAG_RULE = "a letter, then letters, digits, '_', '.' and '-', 100 characters at most, and no word for a time such as 'today'"


@dataclass(frozen=True, slots=True)
class TagName:
    """A tag's name. It can't be read as a version or as a time."""

    name: str

    def __str__(self) -> str:
        return self.name


AsOf = int | datetime | TagName
"""A manifest version, an aware time, or a tag."""


def parse_tag(text: str) -> TagName:
    """A tag's name; InputError when it can't be one."""
    if _TAG.fullmatch(text) is None or is_relative(text):
        raise InputError(f"{text[:120]!r} is no name for a tag: {TAG_RULE}")
    return TagName(text)


def parse_as_of(given: int | str | datetime, *, now: datetime | None = None) -> AsOf:
    """The version that somebody means by a number, a time or a name.

    Digits alone are a version, also `2015`; times are written as in a question (`model.moment`), without a zone in UTC; what
    begins with a letter and is no word for a time is a tag.

    Args:
        now: what is now, for texts such as `-2h`; the clock's time by default.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(given, datetime):
        return utc(given if given.tzinfo else given.replace(tzinfo=UTC))
    if isinstance(given, int):
        if given < 0:
            raise InputError(f"{given} is no version; they are numbered from 0")
        return given
    text = given.strip()
    if _NUMBER.fullmatch(text):
        return int(text)
    if _TAG.fullmatch(text) and not is_relative(text):
        return TagName(text)
    try:
        return parse_moment(text, now=now)
    except InputError:
        raise InputError(
            f"{given[:120]!r} is no version, time or tag; write for instance 17, 2024-05-01T12:00:00Z, -2h or before-cleaning"
        ) from None
