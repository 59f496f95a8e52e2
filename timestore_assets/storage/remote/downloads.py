"""Objects of a bucket become local files, checked against the checksum that they carry."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from timestore_assets.model.errors import BadFileError
from timestore_assets.storage.names import checked
from timestore_assets.storage.remote.checksum import METADATA_KEY, sha256_of
from timestore_assets.storage.remote.errors import translated
from timestore_assets.storage.remote.parallel import in_parallel

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_NO_SUCH_RANGE = "416"


class _First(NamedTuple):
    """The first part of an object. `size`: of the whole."""

    data: bytes
    size: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloader:
    """Downloads from one target; threads may share it, and it holds `concurrency` parts in memory at most for all of them.

    `place`: the target in a sentence. `part_bytes`: larger objects come in parts of this size.
    """

    store: ObjectStore = field(repr=False)
    place: str
    concurrency: int
    part_bytes: int
    _requests: threading.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_requests", threading.Semaphore(self.concurrency))

    def download(self, name: str, to: Path) -> None:
        """The whole object as a file, which is made or overwritten.

        Raises:
            MissingObjectError: there is none. UnavailableError: it can't be had now.
            BadFileError: its content is not what was uploaded. OSError: the file can't be written.
        """
        for _ in range(2):  # what came damaged may have been damaged on its way
            with to.open("wb") as file:
                first = self._first(checked(name))
                file.write(first.data)
                file.flush()
                self._rest(name, first, file)
            if first.sha256 in (None, _checksum(first, to)):
                return
        problem = f"object {name} in {self.place} is damaged: its content is not what was uploaded"
        raise BadFileError("bad_segment", f"{problem}; run `timestore verify`")

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes `[start, end)` of each span, in their order; adjoining ones share a request, several requests go at a time.

        Raises:
            MissingObjectError: there is no such object. UnavailableError: it can't be had now, or a span lies behind its end.
        """
        import obstore

        if not spans:
            return []
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        with self._requests, translated(self.place, name=name):
            found = obstore.get_ranges(self.store, checked(name), starts=starts, ends=ends, coalesce=0)
            return [bytes(one) for one in found]

    def _first(self, name: str) -> _First:
        import obstore
        from obstore.exceptions import BaseError

        with self._requests, translated(self.place, name=name):
            try:
                found = obstore.get(self.store, name, options={"range": (0, self.part_bytes)})
            except BaseError as error:
                if _NO_SUCH_RANGE not in str(error):
                    raise
                found = obstore.get(self.store, name)  # it is empty and has no first part
            return _First(bytes(found.bytes()), found.meta["size"], found.attributes.get(METADATA_KEY))

    def _rest(self, name: str, first: _First, file: BinaryIO) -> None:
        import obstore

        def fetch(start: int) -> None:
            with self._requests:
                with translated(self.place, name=name):
                    part = obstore.get_range(self.store, name, start=start, end=min(start + self.part_bytes, first.size))
                _write(file.fileno(), memoryview(part), start)

        in_parallel(fetch, range(len(first.data), first.size, self.part_bytes), limit=self.concurrency)


def _write(handle: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(handle, data, at)
        data, at = data[written:], at + written


def _checksum(first: _First, path: Path) -> str:
    return hashlib.sha256(first.data).hexdigest() if first.size == len(first.data) else sha256_of(path)
