"""How far the listing of a bucket has come: a round goes through all keys, a stretch at a time, and begins again at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from timestore_assets.sources.files.listing import ListedFile
from timestore_assets.sources.objects.listing import Page

CURSOR_VERSION = 1

Pages = Callable[[str], Iterator[Page]]
"""The pages behind an address."""
Settled = Callable[[Sequence[str]], Mapping[str, str]]
"""Of these addresses those whose fate is decided, with the etag it was decided for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """`after`: the address behind which the listing goes on, empty at the beginning. `keys`: how many came before it.

    `whole`: how many the last complete round had.
    """

    after: str = ""
    keys: int = 0
    whole: int = 0

    def passing(self, page: Page) -> Round:
        return replace(self, after=page.last, keys=self.keys + page.keys)

    def ended(self) -> Round:
        return Round(whole=self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What one look may cost. `wanted`: new files. `keys`: listed objects. `seconds`: time, for more than the first page."""

    wanted: int
    keys: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look found.

    `new`: files to land, in order. `keys`: objects listed. `resume`: where to go on, which is before the first new file, so that
    it is seen again until it is settled. `end`: how far the look came.
    """

    new: tuple[ListedFile, ...]
    keys: int
    resume: Round
    end: Round

    @property
    def complete(self) -> bool:
        """Whether the end of the round was reached."""
        return not self.end.after

    def past_first(self) -> Round:
        """Where to go on when the first new file is given up; those behind it may be better."""
        return replace(self.resume, after=self.new[0].address) if self.new else self.resume


def look_on(pages: Pages, settled: Settled, begin: Round, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> Look:
    """Go on with a round until one of the bounds or its end; whatever is bounded, at least one page is looked at.

    A file is new unless it is settled with the etag it has; only a page's files are asked for at a time.
    """
    new: list[ListedFile] = []
    at, first, keys, until = begin, None, 0, clock() + bounds.seconds
    for page in pages(begin.after):
        known = settled([file.address for file in page.files])
        fresh = [file for file in page.files if known.get(file.address) != file.etag]
        first = first or (at if fresh else None)
        room = bounds.wanted - len(new)
        new += fresh[:room]
        keys += page.keys
        if len(fresh) > room:
            at = replace(at, after=new[-1].address)
            break
        at = at.passing(page)
        if len(new) == bounds.wanted or keys >= bounds.keys or clock() >= until:
            break
    else:
        at = at.ended()
    return Look(new=tuple(new), keys=keys, resume=first or at, end=at)


def to_cursor(rounds: Mapping[str, Round]) -> str:
    """Rounds by the name of what they go through, as a short text."""
    plain = {name: asdict(one) for name, one in rounds.items()}
    return json.dumps({"version": CURSOR_VERSION, "rounds": plain}, separators=(",", ":"))


def from_cursor(cursor: str | None) -> dict[str, Round]:
    """What `to_cursor` was given; nothing when it can't be read, which costs one round."""
    try:
        value = json.loads(cursor or "{}")
        if value.get("version") != CURSOR_VERSION:
            return {}
        return {name: _round(**one) for name, one in value["rounds"].items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}


def _round(*, after: Any, keys: Any, whole: Any) -> Round:
    if not isinstance(after, str):
        raise TypeError(after)
    return Round(after=after, keys=int(keys), whole=int(whole))
