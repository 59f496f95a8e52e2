"""An object store in a bucket of S3, Google Cloud Storage or Azure, or of what speaks like them, by obstore.

A bucket is listed to its end, also when the connection breaks off in the middle of a page, which no client tries again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.errors import InputError, MissingObjectError, UnreachableError
from timestore_assets.model.target import StorageTarget
from timestore_assets.storage.disk_errors import file_failures
from timestore_assets.storage.object_store import ObjectRequest, StoredObject, Upload, checked, is_listed
from timestore_assets.storage.remote.connection import connected
from timestore_assets.storage.remote.store_errors import translated
from timestore_assets.storage.remote.transfers import Downloader, Uploader, in_parallel
from timestore_assets.storage.staging import StagingArea
from timestore_assets.storage.target_settings import place_of

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

    from timestore_assets.settings import Settings
    from timestore_assets.storage.cache.read_cache import ReadCache


_PAUSE_SECONDS = 0.2


def whole_listing(store: ObjectStore, place: str, folder: str, *, retry_seconds: float) -> Iterator[Sequence[ObjectMeta]]:
    """Pages of the objects below a folder, in order of their names and each object once.

    `place`: the bucket in a sentence. `retry_seconds`: how long to go on without a page.

    Raises:
        UnavailableError: as `translated` says.
    """
    last: str | None = None
    began = time.monotonic()
    while True:
        try:
            for page in _behind(store, place, folder, last):
                last, began = page[-1]["path"], time.monotonic()
                yield page
        except UnreachableError:
            if time.monotonic() - began + _PAUSE_SECONDS > retry_seconds:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _behind(store: ObjectStore, place: str, folder: str, last: str | None) -> Iterator[Sequence[ObjectMeta]]:
    import obstore

    with translated(place):
        for page in obstore.list(store, prefix=folder or None, offset=last):
            # some stores take no notice of where to begin
            if behind := [found for found in page if last is None or found["path"] > last]:
                yield behind


_DELETED_AT_ONCE = 1000
_BETWEEN = "\x00"


class RemoteStore:
    """`storage.object_store.ObjectStore` in a bucket, below the target's root. Threads may share one; its `repr` holds no secret.

    Files are staged on this machine below `staging_root`, and read by way of the `cache`.
    """

    def __init__(self, target: StorageTarget, settings: Settings, *, staging_root: Path, cache: ReadCache) -> None:
        self._uri, self._place = place_of(target), f"storage target {target.name} ({place_of(target)})"
        self._cache, self._staging, self._staging_root = cache, StagingArea(staging_root), staging_root
        self.concurrency = settings.storage_concurrency
        self.key = _BETWEEN.join((self._uri, target.endpoint or "", target.account or ""))
        self._retry_seconds = settings.storage_retry_seconds
        self._store = connected(target, settings)
        transfer = {"concurrency": self.concurrency, "part_bytes": settings.storage_part_bytes}
        self._uploader = Uploader(store=self._store, place=self._place, **transfer)
        self._downloader = Downloader(store=self._store, place=self._place, **transfer)

    def __repr__(self) -> str:
        return f"RemoteStore({self._uri!r})"

    def staging(self, label: str) -> Path:
        """A new empty folder on this machine for files that `promote` will take."""
        with file_failures(self._staging_root):
            return self._staging.folder(label)

    def promote(self, uploads: Sequence[Upload]) -> list[str]:
        """Upload the staged files with their digests, which are returned, several at a time; see `Uploader.upload`."""
        with file_failures(self._staging_root):
            digests = self._uploader.upload(uploads)
        for upload in uploads:
            upload.staged.unlink(missing_ok=True)
        return digests

    def mark(self, upload: Upload) -> None:
        """The same for one that says whose the target is."""
        self.promote([upload])

    def reading(self, wanted: Sequence[ObjectRequest]) -> AbstractContextManager[list[Path]]:
        """Files of the read cache, into which missing ones are fetched first."""
        return self._cache.reading(self, wanted)

    def download(self, name: str, to: Path) -> None:
        """The whole object as a local file, verified; see `Downloader.download`."""
        self._downloader.download(name, to)

    def fetch(self, name: str, to: Path) -> None:
        """The same, for copying it elsewhere."""
        with file_failures(to.parent):
            self.download(name, to)

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes `[start, end)` of each span of an object; see `Downloader.ranges`."""
        return self._downloader.ranges(name, spans)

    def address(self, name: str) -> str:
        """`s3://bucket/root/name`, or `gs:` or `az:`."""
        return f"{self._uri}/{checked(name)}"

    def path(self, name: str) -> None:
        """None: the object is on no disk of this machine."""

    def size(self, name: str) -> int | None:
        """Bytes of the object; None when there is none."""
        import obstore

        try:
            with translated(self._place, name=name):
                return obstore.head(self._store, checked(name))["size"]
        except MissingObjectError:
            return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects in order of their names, page by page; what others put there under names that no object has is left out."""
        # obstore takes whole parts of a name only
        for page in whole_listing(self._store, self._place, prefix.rpartition("/")[0], retry_seconds=self._retry_seconds):
            for found in page:
                if is_listed(found["path"], prefix) and _is_object(found["path"]):
                    yield StoredObject(name=found["path"], bytes=found["size"], modified=found["last_modified"])

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, as many in a request as the store takes."""
        import obstore

        rest = map(checked, names)
        while chunk := list(islice(rest, _DELETED_AT_ONCE)):
            try:
                with translated(self._place, name="of those to be deleted"):
                    obstore.delete(self._store, chunk)
            except MissingObjectError:
                in_parallel(self._delete_one, chunk, limit=self.concurrency)

    def _delete_one(self, name: str) -> None:
        import obstore

        with suppress(MissingObjectError), translated(self._place, name=name):
            obstore.delete(self._store, name)

    def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove what processes of this machine that are gone have left: staging folders, and files of the read cache."""
        return self._staging.sweep(older_than_seconds) + self._cache.sweep()


def _is_object(name: str) -> bool:
    try:
        checked(name)
    except InputError:
        return False
    return True
