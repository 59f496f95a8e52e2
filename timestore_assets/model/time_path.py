"""Time in a source's prefix: `raw/{window:%Y/%m/%d}/` says which folder holds which time, in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.window import Window, utc

Step = Literal["year", "month", "day", "hour"]

_FIELD = re.compile(r"\{window:([^{}]*)\}")
_CODE = re.compile(r"%.")
_DIGITS = {"%Y": 4, "%m": 2, "%d": 2, "%j": 3, "%H": 2}
_STEPS: dict[tuple[str, ...], Step] = {
    ("%Y",): "year",
    ("%Y", "%m"): "month",
    ("%Y", "%m", "%d"): "day",
    ("%Y", "%j"): "day",
    ("%Y", "%m", "%d", "%H"): "hour",
    ("%Y", "%j", "%H"): "hour",
}
_WRITE = "write for instance raw/{window:%Y/%m/%d}/ or raw/year={window:%Y}/month={window:%m}/"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimePath:
    """A prefix whose folders are named after the time of what they hold. Their names sort as their times do.

    `base`: what stands before the first folder with a time in it; ends with `/` unless it is empty. `parts`: the rest, as
    literal texts and strftime codes; ends with `/`. `step`: how long a time one folder stands for.
    """

    base: str
    parts: tuple[str, ...]
    step: Step

    def folder(self, time: datetime) -> str:
        """The folder that holds `time`, below the base; ends with `/`."""
        time = utc(time)
        return "".join(_rendered(part, time) for part in self.parts)

    def folders(self, start: datetime, end: datetime) -> Iterator[str]:
        """The folders of times in `[start, end)`, in order."""
        at = self._floor(start)
        while at < end and start < end:
            yield self.folder(at)
            at = self._after(at)

    def bounds(self, start: datetime, end: datetime) -> tuple[str, str]:
        """What the addresses of files of times in `[start, end)` lie between, the second one excluded."""
        last = self._floor(end)
        return self.folder(start), self.folder(last if last == utc(end) else self._after(last))

    def below(self, address: str) -> str | None:
        """The part of a file's address behind the folder with the time; None when it lies in no such folder."""
        match = re.match(self._pattern, address)
        return address[match.end() :] if match else None

    @property
    def _pattern(self) -> str:
        return "".join(rf"\d{{{_DIGITS[part]}}}" if part in _DIGITS else re.escape(part) for part in self.parts)

    def _floor(self, time: datetime) -> datetime:
        time = utc(time).replace(minute=0, second=0, microsecond=0)
        if self.step == "hour":
            return time
        time = time.replace(hour=0)
        if self.step == "day":
            return time
        time = time.replace(day=1)
        return time if self.step == "month" else time.replace(month=1)

    def _after(self, start: datetime) -> datetime:
        if self.step == "year":
            return start.replace(year=start.year + 1)
        if self.step == "month":
            return Window.MONTH.after(start)
        return start + (timedelta(days=1) if self.step == "day" else timedelta(hours=1))


def parse_time_path(prefix: str) -> TimePath | None:
    """The time in a prefix; None when there is none.

    Raises:
        DeclarationError: a field is malformed, or its codes don't go from the year down, so that names wouldn't sort as times.
    """
    first = prefix.find("{window")
    if first < 0:
        return None
    begin = prefix.rfind("/", 0, first) + 1
    parts = _parts(prefix[begin:].rstrip("/") + "/")
    codes = tuple(dict.fromkeys(part for part in parts if part in _DIGITS))
    if codes not in _STEPS:
        raise DeclarationError(f"has {' '.join(codes) or 'no'} codes; name the year, then month, day and hour: {_WRITE}")
    return TimePath(base=prefix[:begin], parts=parts, step=_STEPS[codes])


def _parts(text: str) -> tuple[str, ...]:
    parts: list[str] = []
    for index, piece in enumerate(_FIELD.split(text)):
        if index % 2:
            parts += _codes(piece)
        elif "{window" in piece:
            raise DeclarationError(f"has a {{window:…}} that is not closed or holds a brace; {_WRITE}")
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _codes(text: str) -> Iterator[str]:
    at = 0
    for match in _CODE.finditer(text):
        if match[0] not in _DIGITS:
            raise DeclarationError(f"has the code {match[0]}; only {', '.join(_DIGITS)} sort as times do: {_WRITE}")
        if match.start() > at:
            yield text[at : match.start()]
        yield match[0]
        at = match.end()
    if at < len(text):
        yield text[at:]


def _rendered(part: str, time: datetime) -> str:
    if part == "%Y":  # strftime does not pad years below 1000 on every platform
        return f"{time.year:04d}"
    return time.strftime(part) if part in _DIGITS else part
