"""Staged files become objects of a bucket: under a new name or not at all, with their checksum."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from timestore_assets.model.errors import (
    ConflictError,
    CredentialsError,
    MissingObjectError,
    StorageFullError,
    UnavailableError,
    UnreachableError,
)
from timestore_assets.storage.names import checked
from timestore_assets.storage.port import Upload
from timestore_assets.storage.remote.checksum import METADATA_KEY, sha256_of
from timestore_assets.storage.remote.errors import no_bucket, translated
from timestore_assets.storage.remote.parallel import in_parallel

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_ATTEMPTS = 3
_MOST_PARTS = 9_000  # S3 and Azure refuse a little more


class _Content(NamedTuple):
    """What tells one content from another."""

    bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploader:
    """Uploads into one target. `place`: the target in a sentence. `concurrency`: requests at a time. `part_bytes`: largest
    object that goes up in one request, and the size of the parts of larger ones; so much memory is used for each request.
    """

    store: ObjectStore = field(repr=False)
    place: str
    concurrency: int
    part_bytes: int
    _large: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def upload(self, uploads: Sequence[Upload]) -> None:
        """Make the objects, durable when this returns. What was made before a failure stays.

        An object that is there already with the same content is one of ours whose answer was lost: names hold a random attempt.

        Raises:
            ConflictError: another content has that name. StorageFullError, UnavailableError: as `translated` says.
        """
        sizes = {checked(upload.name): upload.staged.stat().st_size for upload in uploads}
        small = [upload for upload in uploads if sizes[upload.name] <= self.part_bytes]
        in_parallel(self._in_one_request, small, limit=self.concurrency)
        for upload in uploads:
            if sizes[upload.name] > self.part_bytes:
                # one at a time, of all threads: it has as many parts in memory as there may be requests
                with self._large:
                    self._in_parts(upload, sizes[upload.name])

    def _in_one_request(self, upload: Upload) -> None:
        import obstore

        data = upload.staged.read_bytes()
        content = _Content(len(data), hashlib.sha256(data).hexdigest())
        for _ in range(_ATTEMPTS):
            try:
                with translated(self.place, name=upload.name):
                    obstore.put(
                        self.store,
                        upload.name,
                        data,
                        mode="create",
                        use_multipart=False,
                        attributes={METADATA_KEY: str(content.sha256)},
                    )
                return
            except MissingObjectError:
                raise no_bucket(self.place) from None
            except ConflictError:
                found = self._found(upload.name)
                if found == content:
                    return
                if found is not None:
                    raise
                # two requests met, and neither of them won
        raise UnavailableError(
            f"object {upload.name} can't be made in {self.place}: another request keeps interfering; try again"
        )

    def _in_parts(self, upload: Upload, size: int) -> None:
        import obstore

        content = _Content(size, sha256_of(upload.staged))
        if self._is_there(upload.name, content):
            return
        try:
            with upload.staged.open("rb") as file, translated(self.place, name=upload.name):
                obstore.put(
                    self.store,
                    upload.name,
                    file,
                    use_multipart=True,
                    chunk_size=max(self.part_bytes, -(-size // _MOST_PARTS)),
                    max_concurrency=self.concurrency,
                    attributes={METADATA_KEY: str(content.sha256)},
                )
        except (StorageFullError, CredentialsError, UnreachableError):
            raise
        except (ConflictError, UnavailableError) as error:
            # the answer to the last request may be lost: there is no upload any more when it is sent again
            if self._is_there(upload.name, content):
                return
            if isinstance(error, ConflictError | MissingObjectError):
                raise UnavailableError(f"the upload of {upload.name} to {self.place} was broken off; run it again") from None
            raise

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
