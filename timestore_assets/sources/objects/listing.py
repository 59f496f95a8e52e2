"""What lies below a prefix of a bucket, page by page in the order of keys, so that a million objects need no memory."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError
from timestore_assets.model.time_path import TimePath
from timestore_assets.sources.files.listing import ListedFile, glob_pattern, ignored
from timestore_assets.sources.objects.file import ObjectFile, etag_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obstore import ObjectMeta

    from timestore_assets.storage.remote.buckets import Bucket

_BAD_KEY = re.compile(r'parsing Path "(.*?)":', re.DOTALL)
PAGE_KEYS = 1000
"""What S3 gives in one answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of a listing. `files`: those that match. `keys`: how many objects it had, matching or not. `last`: the last one."""

    files: tuple[ListedFile, ...]
    keys: int
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

    def pages(self, *, after: str = "", before: str | None = None) -> Iterator[Page]:
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
                yield Page(files=files, keys=len(chosen), last=names[chosen[-1]])
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

        from timestore_assets.storage.remote.errors import translated

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
