"""Which version of a dataset is meant: its number, a time at which it was in force, or a tag that somebody gave it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import is_relative, parse_moment
from timestore_assets.model.window import format_time, utc

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
AsOfEach = AsOf | Mapping[str, AsOf]
"""For a statement that may read several datasets: what is meant of all of them, or of some by their names; the others are then
read as they are now."""
Version = int | str | datetime
"""As people give it: a version's number, a time at which it was in force, or a tag."""


def parse_tag(text: str) -> TagName:
    """A tag's name; InputError when it can't be one."""
    if _TAG.fullmatch(text) is None or is_relative(text):
        raise InputError(f"{text[:120]!r} is no name for a tag: {TAG_RULE}")
    return TagName(text)


def parse_as_of(given: Version, *, now: datetime | None = None) -> AsOf:
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


def parse_as_of_each(given: Version | AsOf | Mapping[str, Version | AsOf], *, now: datetime | None = None) -> AsOfEach:
    """The version of all datasets, or of each that is named; texts such as `-2h` mean one instant for all of them.

    Raises:
        InputError: as `parse_as_of`, or nothing is named.
    """
    now = now or datetime.now(UTC)
    if isinstance(given, Mapping):
        if not given:
            raise InputError("as of: no dataset is named; name at least one, or give a version, a time or a tag for all")
        return {name: _meant(one, now) for name, one in given.items()}
    return _meant(given, now)


def _meant(given: Version | AsOf, now: datetime) -> AsOf:
    return given if isinstance(given, TagName) else parse_as_of(given, now=now)


def parse_as_of_words(words: Sequence[str], *, now: datetime | None = None) -> AsOfEach:
    """The same of what is written in a line: one word for all datasets, or `NAME=WHEN` once or several times.

    Raises:
        InputError: as `parse_as_of_each`, or it is both, or a name stands there twice.
    """
    if len(words) == 1 and "=" not in words[0]:
        return parse_as_of_each(words[0], now=now)
    named: dict[str, Version] = {}
    for word in words:
        name, equals, when = word.partition("=")
        if not (equals and name.strip()) or name.strip() in named:
            raise InputError(
                f"as of {word[:120]!r}: write one version, time or tag for all datasets, or NAME=WHEN once for each, as power=17"
            )
        named[name.strip()] = when
    return parse_as_of_each(named, now=now)


def as_of_words(meant: AsOfEach) -> tuple[str, ...]:
    """What `parse_as_of_words` reads as the same."""
    if isinstance(meant, Mapping):
        return tuple(f"{name}={_word(one)}" for name, one in meant.items())
    return (_word(meant),)


def _word(meant: AsOf) -> str:
    return format_time(meant) if isinstance(meant, datetime) else str(meant)
