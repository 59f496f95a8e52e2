"""What lies below a prefix of a bucket, page by page in the order of keys, and how far the listing has come.

A million objects need no memory: a round goes through a range of keys, some at a time, and begins anew. Of the ranges of a
bucket's keys, that of the newest times is gone through at every step, the older ones round by round.
"""

from __future__ import annotations

import json
import posixpath
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.time_path import TimePath
from timestore_assets.sources.files.file_listing import ListedFile, glob_pattern, ignored
from timestore_assets.sources.objects.object_file import ObjectFile, etag_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obstore import ObjectMeta

    from timestore_assets.storage.remote.buckets import Bucket

_BAD_KEY = re.compile(r'parsing Path "(.*?)":', re.DOTALL)
PAGE_KEYS = 1000
"""What S3 gives in one answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingPage:
    """A part of a listing."""

    #: Those that match.
    files: tuple[ListedFile, ...]
    #: How many objects it had, matching or not.
    keys: int
    #: The last one.
    last: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectFolder:
    """The objects of a source. `root`: what addresses are relative to; ends with `/`, or is empty for the whole bucket.

    `times`: how folders below the root are named after time, None when they aren't.
    """

    bucket: Bucket
    root: str
    glob: str = "**/*"
    times: TimePath | None = None

    @property
    def uri(self) -> str:
        """`s3://bucket/root/`."""
        return f"{self.bucket.uri}/{self.root}"

    def file(self, address: str, *, expected_bytes: int = 0) -> ObjectFile:
        """The object at an address below the root. `expected_bytes`: its size in a listing."""
        return ObjectFile(self.bucket, f"{self.root}{address}", address, expected_bytes=expected_bytes)

    def pages(self, *, after: str = "", before: str | None = None) -> Iterator[ListingPage]:
        """The files whose addresses lie between the two (both excluded), in the order of their UTF-8 bytes.

        Raises:
            UnavailableError: the store can't be reached or refuses. InputError: the glob is malformed, or a key is none that the
                client can read.
        """
        for found in self._listed(after):
            names = [item["path"].removeprefix(self.root) for item in found]
            # some stores know no place to begin at and list everything
            chosen = [i for i, name in enumerate(names) if name > after and (before is None or name < before)]
            if chosen:
                files = tuple(_listed_file(names[i], found[i]) for i in chosen if self._matches(names[i], found[i]))
                yield ListingPage(files=files, keys=len(chosen), last=names[chosen[-1]])
            if before is not None and names and names[-1] >= before:
                return

    def _listed(self, after: str) -> Iterator[Sequence[ObjectMeta]]:
        import obstore

        with self._reached():
            offset = f"{self.root}{after}" if after else None
            listing = iter(obstore.list(self.bucket.store, self.root or None, offset=offset, chunk_size=PAGE_KEYS))
        while True:
            with self._reached():
                found = next(listing, None)
            if found is None:
                return
            yield found

    @contextmanager
    def _reached(self) -> Iterator[None]:
        from obstore.exceptions import InvalidPathError

        from timestore_assets.storage.remote.store_errors import translated

        with translated(self.uri):
            try:
                yield
            except InvalidPathError as error:
                key = _BAD_KEY.search(str(error))
                which = f", {key[1][:200]!r}" if key else ""
                problem = "holds a key with a control character, `//`, `.` or `..` in it"
                raise InputError(f"{self.uri} {problem}{which}; rename it, or watch another prefix") from None

    def _matches(self, name: str, item: ObjectMeta) -> bool:
        if any(ignored(part) for part in name.split("/")) or _is_folder(name, item):
            return False
        below = name if self.times is None else self.times.below(name)
        return below is not None and glob_pattern(self.glob).fullmatch(below) is not None


def _listed_file(name: str, item: ObjectMeta) -> ListedFile:
    return ListedFile(address=name, size=item["size"], etag=etag_text(item["e_tag"] or ""))


def _is_folder(name: str, item: ObjectMeta) -> bool:
    """Whether it is one of the empty objects by which consoles show folders; their names come without the slash at the end."""
    return item["size"] == 0 and not posixpath.splitext(name)[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRange:
    """Addresses between two, both excluded; `before` None means to the end."""

    name: str
    after: str = ""
    before: str | None = None


def key_ranges(dataset: Dataset, times: TimePath | None, now: datetime) -> tuple[KeyRange, ...]:
    """The key ranges of a source; one that knows no time in its path has a single one.

    The newest begins a window before the one that `late.allowed` keeps open, and ends where times are out of range. Nothing
    before the dataset's start is in any.
    """
    if times is None:
        return (KeyRange(name="all"),)
    end = dataset.upper_bound(now)
    current = dataset.window.start_of(now - dataset.late.allowed)
    newest = max(dataset.window.before(current), dataset.start)
    if newest >= end:
        after, before = times.bounds(dataset.start, end)
        return (KeyRange(name="older", after=after, before=before),)
    after, before = times.bounds(newest, end)
    first, _ = times.bounds(dataset.start, newest)
    older = (KeyRange(name="older", after=first, before=after),) if first < after else ()
    return (KeyRange(name="newest", after=after, before=before), *older)


CURSOR_VERSION = 1

Pages = Callable[[str], Iterator[ListingPage]]
"""The pages behind an address."""
Settled = Callable[[Sequence[str]], Mapping[str, str]]
"""Of these addresses those whose fate is decided, with the etag it was decided for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingCursor:
    """How far a listing has come."""

    #: The address behind which the listing goes on, empty at the beginning.
    after: str = ""
    #: How many came before it.
    keys: int = 0
    #: How many the last complete round had.
    whole: int = 0

    def passing(self, page: ListingPage) -> ListingCursor:
        return replace(self, after=page.last, keys=self.keys + page.keys)

    def ended(self) -> ListingCursor:
        return ListingCursor(whole=self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingLimits:
    """What one look may cost."""

    #: New files.
    wanted: int
    #: Listed objects.
    keys: int
    #: Time, for more than the first page.
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ListingStep:
    """What one look found."""

    #: Files to land, in order.
    new: tuple[ListedFile, ...]
    #: Objects listed.
    keys: int
    #: Where to go on, which is before the first new file, so that it is seen again until it is settled.
    resume: ListingCursor
    #: How far the look came.
    end: ListingCursor

    @property
    def complete(self) -> bool:
        """Whether the end of the round was reached."""
        return not self.end.after

    def past_first(self) -> ListingCursor:
        """Where to go on when the first new file is given up; those behind it may be better."""
        return replace(self.resume, after=self.new[0].address) if self.new else self.resume


def look_on(
    pages: Pages, settled: Settled, begin: ListingCursor, bounds: ListingLimits, *, clock: Callable[[], float] = time.monotonic
) -> ListingStep:
    """Go on with a round until one of the limits or its end; whatever is bounded, at least one page is looked at.

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
    return ListingStep(new=tuple(new), keys=keys, resume=first or at, end=at)


def to_cursor(rounds: Mapping[str, ListingCursor]) -> str:
    """Rounds by the name of what they go through, as a short text."""
    plain = {name: asdict(one) for name, one in rounds.items()}
    return json.dumps({"version": CURSOR_VERSION, "rounds": plain}, separators=(",", ":"))


def from_cursor(cursor: str | None) -> dict[str, ListingCursor]:
    """What `to_cursor` was given; nothing when it can't be read, which costs one round."""
    try:
        value = json.loads(cursor or "{}")
        if value.get("version") != CURSOR_VERSION:
            return {}
        return {name: _round(**one) for name, one in value["rounds"].items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        return {}


def _round(*, after: Any, keys: Any, whole: Any) -> ListingCursor:
    if not isinstance(after, str):
        raise TypeError(after)
    return ListingCursor(after=after, keys=int(keys), whole=int(whole))
