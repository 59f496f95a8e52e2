"""Files into a bucket and out of it: staged ones become objects under a new name or not at all, objects become local files.

Every object carries a checksum: made where the file was written, checked where it is read. Several go at a time; the first
failure ends it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from timestore_assets.model.errors import (
    BadFileError,
    ConflictError,
    CredentialsError,
    MissingObjectError,
    StorageFullError,
    UnavailableError,
    UnreachableError,
)
from timestore_assets.storage.object_store import Upload, checked, sha256_of
from timestore_assets.storage.remote.store_errors import no_bucket, translated

if TYPE_CHECKING:
    from obstore.store import ObjectStore


METADATA_KEY = "sha256"
"""Name of the object's metadata that holds it; Azure takes only what could name a variable."""


T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Sequence[T], *, limit: int) -> list[R]:
    """What `work` gives for each item, in their order, `limit` of them at a time.

    Raises:
        The error of the first item that failed; what had not begun by then is left out, what had is waited for.
    """
    if len(items) < 2 or limit < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(limit, len(items)), thread_name_prefix="storage") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for future in futures:
            if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                raise error
        return [future.result() for future in futures]


_NO_SUCH_RANGE = "416"


class _First(NamedTuple):
    """The first part of an object. `size`: of the whole."""

    data: bytes
    size: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloader:
    """Downloads from one target; threads may share it, and it holds `concurrency` parts in memory at most for all of them."""

    store: ObjectStore = field(repr=False)
    #: The target in a sentence.
    place: str
    concurrency: int
    #: Larger objects come in parts of this size.
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


_ATTEMPTS = 3
_MOST_PARTS = 9_000  # S3 and Azure refuse a little more


class _Content(NamedTuple):
    """What tells one content from another."""

    bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploader:
    """Uploads into one target."""

    store: ObjectStore = field(repr=False)
    #: The target in a sentence.
    place: str
    #: Requests at a time.
    concurrency: int
    #: Largest object that goes up in one request, and the size of the parts of larger ones; so much memory is used for each
    #: request.
    part_bytes: int
    _large: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def upload(self, uploads: Sequence[Upload]) -> list[str]:
        """Make the objects, durable when this returns; gives their digests. What was made before a failure stays.

        An object that is there already with the same content is one of ours whose answer was lost: names hold a random attempt.

        Raises:
            ConflictError: another content has that name. StorageFullError, UnavailableError: as `translated` says.
        """
        sizes = {checked(upload.name): upload.staged.stat().st_size for upload in uploads}
        small = [upload for upload in uploads if sizes[upload.name] <= self.part_bytes]
        digests = in_parallel(self._in_one_request, small, limit=self.concurrency)
        found = {upload.name: digest for upload, digest in zip(small, digests, strict=True)}
        for upload in uploads:
            if sizes[upload.name] > self.part_bytes:
                # one at a time, of all threads: it has as many parts in memory as there may be requests
                with self._large:
                    found[upload.name] = self._in_parts(upload, sizes[upload.name])
        return [found[upload.name] for upload in uploads]

    def _in_one_request(self, upload: Upload) -> str:
        import obstore

        data = upload.staged.read_bytes()
        digest = upload.sha256 or hashlib.sha256(data).hexdigest()
        content = _Content(len(data), digest)
        for _ in range(_ATTEMPTS):
            try:
                with translated(self.place, name=upload.name):
                    obstore.put(
                        self.store,
                        upload.name,
                        data,
                        mode="create",
                        use_multipart=False,
                        attributes={METADATA_KEY: digest},
                    )
                return digest
            except MissingObjectError:
                raise no_bucket(self.place) from None
            except ConflictError:
                found = self._found(upload.name)
                if found == content:
                    return digest
                if found is not None:
                    raise
                # two requests met, and neither of them won
        raise UnavailableError(
            f"object {upload.name} can't be made in {self.place}: another request keeps interfering; try again"
        )

    def _in_parts(self, upload: Upload, size: int) -> str:
        import obstore

        digest = upload.sha256 or sha256_of(upload.staged)
        content = _Content(size, digest)
        if self._is_there(upload.name, content):
            return digest
        try:
            with upload.staged.open("rb") as file, translated(self.place, name=upload.name):
                obstore.put(
                    self.store,
                    upload.name,
                    file,
                    use_multipart=True,
                    chunk_size=max(self.part_bytes, -(-size // _MOST_PARTS)),
                    max_concurrency=self.concurrency,
                    attributes={METADATA_KEY: digest},
                )
        except (StorageFullError, CredentialsError, UnreachableError):
            raise
        except (ConflictError, UnavailableError) as error:
            # the answer to the last request may be lost: there is no upload any more when it is sent again
            if self._is_there(upload.name, content):
                return digest
            if isinstance(error, ConflictError | MissingObjectError):
                raise UnavailableError(f"the upload of {upload.name} to {self.place} was broken off; run it again") from None
            raise
        return digest

    def _is_there(self, name: str, content: _Content) -> bool:
        """Whether the object is there. Raises: ConflictError if its content is another."""
        found = self._found(name)
        if found is not None and found != content:
            raise ConflictError(f"object {name} exists already in {self.place}; objects are never overwritten")
        return found is not None

    def _found(self, name: str) -> _Content | None:
        """What has that name in the bucket, None if nothing does."""
        import obstore

        try:
            with translated(self.place, name=name):
                found = obstore.get(self.store, name, options={"head": True})
                return _Content(found.meta["size"], found.attributes.get(METADATA_KEY))
        except MissingObjectError:
            return None
