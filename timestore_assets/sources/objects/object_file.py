"""A file that is an object of a bucket. Its etag, not its bytes, says what content it has.

The first bytes of objects that were looked at lately are remembered: to find its format, header and records a file is opened
thrice.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from cachetools import LRUCache

from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.sources.files.input_file import PROCESSED, FileIdentity, FileStatus, changed
from timestore_assets.sources.objects.object_stream import ObjectStream

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore import GetOptions
    from typing_extensions import Buffer

    from timestore_assets.storage.remote.buckets import Bucket


_BEGINNINGS = 16  # of a megabyte at most
_beginnings: LRUCache[tuple[str | None, str, str], Buffer] = LRUCache(_BEGINNINGS)
_remembering = threading.Lock()
_CONTENT_ETAG = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_ARCHIVED = "<Code>InvalidObjectState</Code>"
_TEXT_BLOCKS, _ARROW_BLOCKS = 5, 16
"""Blocks of 4 MiB that a reader keeps: text goes forward, columns of a row group are read side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """An object's looks. `if_match`: its etag as the store writes it, for conditional reads."""

    status: FileStatus
    if_match: str


class ObjectFile:
    """`InputFile` over an object of a bucket.

    From `identify` on it stands for the content that was there then: every read is on condition of its etag, and fails with
    `changed_while_reading` when the object is another by now.
    """

    def __init__(self, bucket: Bucket, key: str, address: str = "", *, expected_bytes: int = 0) -> None:
        """`key`: in full. `address`: the object's URI when none is given. `expected_bytes`: its size in a listing."""
        self.bucket, self.key, self.expected_bytes = bucket, key, expected_bytes
        self.address = address or self.uri
        self._seen: _Seen | None = None

    def __repr__(self) -> str:
        return f"ObjectFile({self.uri!r}, address={self.address!r})"

    @property
    def uri(self) -> str:
        """`s3://bucket/key` and the like."""
        return f"{self.bucket.uri}/{self.key}"

    @property
    def name(self) -> str:
        """See `InputFile`."""
        return self.key.rsplit("/", 1)[-1]

    def status(self) -> FileStatus:
        """See `InputFile`; what it was identified as, without asking the store again."""
        return self._known().status

    def looks(self) -> FileStatus | None:
        """See `InputFile`."""
        try:
            return self._look().status
        except BadFileError:
            return None

    def identify(self) -> FileIdentity:
        """See `InputFile`; one request, and no content is read.

        An etag of S3 that is a digest of the content identifies it wherever it lies; any other etag only at its address.
        """
        self._seen = None
        status = self.status()
        of_content = self.bucket.scheme == "s3" and _CONTENT_ETAG.fullmatch(status.etag)
        parts = ("etag", status.etag) if of_content else ("object", self.uri, status.etag)
        digest = hashlib.sha256("\0".join((*parts, str(status.size))).encode()).hexdigest()
        return FileIdentity(sha256=digest, etag=status.etag, size=status.size)

    def open(self) -> IO[bytes]:
        """See `InputFile`."""
        return cast("IO[bytes]", self._stream(_TEXT_BLOCKS))

    def for_arrow(self) -> pa.NativeFile:
        """See `InputFile`."""
        import pyarrow as pa

        return pa.PythonFile(self._stream(_ARROW_BLOCKS), mode="r")

    def delete(self) -> None:
        """See `InputFile`; another content than was identified is left alone."""
        import obstore

        with self._as_os_error():
            self._check_same()
            obstore.delete(self.bucket.store, self.key)

    def mark_processed(self) -> None:
        """See `InputFile`: a copy under the new name, then the deletion. A number is added where the name is taken."""
        import obstore

        with self._as_os_error():
            names = (f"{self.key}{f'.{n}' if n else ''}{PROCESSED}" for n in itertools.count())
            free = next(name for name in names if ObjectFile(self.bucket, name).looks() is None)
            obstore.copy(self.bucket.store, self.key, free)
            self._check_same()
            obstore.delete(self.bucket.store, self.key)

    def _stream(self, kept: int) -> ObjectStream:
        seen = self._known()

        def fetch(start: int, end: int) -> Buffer:
            return self._get(seen, start, end) if start else self._beginning(seen, end)

        return ObjectStream(fetch, seen.status.size, kept=kept)

    def _beginning(self, seen: _Seen, end: int) -> Buffer:
        object_id = (self.bucket.endpoint, self.uri, seen.status.etag)
        with _remembering:
            found = _beginnings.get(object_id)
        if found is None:
            found = self._get(seen, 0, end)
            with _remembering:
                _beginnings[object_id] = found
        return found

    def _get(self, seen: _Seen, start: int, end: int) -> Buffer:
        import obstore

        options: GetOptions = {"range": (start, end), "if_match": seen.if_match}
        with self._reached():
            return obstore.get(self.bucket.store, self.key, options=options).bytes()

    def _known(self) -> _Seen:
        self._seen = self._seen or self._look()
        return self._seen

    def _look(self) -> _Seen:
        import obstore

        with self._reached():
            found = obstore.head(self.bucket.store, self.key)
        if not found["e_tag"]:
            raise BadFileError("unreadable", f"{self.name} has no etag, by which its content could be told apart")
        return _Seen(status=FileStatus(etag=etag_text(found["e_tag"]), size=found["size"]), if_match=found["e_tag"])

    def _check_same(self) -> None:
        if self._look().status != self.status():
            raise changed(self.name)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        from obstore.exceptions import PermissionDeniedError, PreconditionError

        from timestore_assets.storage.remote.store_errors import translated

        with translated(self.bucket.uri, name=self.key):
            try:
                yield
            except PreconditionError:
                raise changed(self.name) from None
            except FileNotFoundError:
                raise BadFileError("missing", f"{self.name} does not exist in {self.bucket.uri}") from None
            except PermissionDeniedError as error:
                if _ARCHIVED in str(error):
                    raise BadFileError("archived", f"{self.name} is in an archive; restore it, then land it again") from None
                if self._can_be_listed():
                    raise BadFileError("unreadable", f"{self.bucket.uri} does not allow to read {self.name}") from None
                raise

    def _can_be_listed(self) -> bool:
        """Whether the store lets us in at all: then a refusal is about this object, and no reason to leave the others."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            return (
                next(iter(obstore.list(self.bucket.store, self.key.rpartition("/")[0] or None, chunk_size=1)), None) is not None
            )
        except BaseError:
            return False

    @contextmanager
    def _as_os_error(self) -> Iterator[None]:
        try:
            with self._reached():
                yield
        except UnavailableError as error:
            raise OSError(str(error)) from None


def etag_text(etag: str) -> str:
    """An etag without its quotes: headers have them, some listings don't."""
    return etag.removeprefix("W/").strip('"')
