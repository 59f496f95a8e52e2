"""The read cache: objects of remote stores as local files, kept within a bound and never taken from under a reader."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from timestore_assets.storage.cache.cache_store import CacheStore, Columns, Fetchable, allocated, covers
from timestore_assets.storage.cache.downloader import CacheCounts, CacheDownloader, Counting
from timestore_assets.storage.disk_errors import cache_failures
from timestore_assets.storage.object_store import ObjectRequest
from timestore_assets.storage.staging import StagingArea
from timestore_assets.tracing import span

_RANGED = ".parquet"


@dataclass(slots=True, eq=False)
class _InUse:
    """A local file and how many read it."""

    digest: str
    path: Path
    #: Those that the file holds.
    columns: Columns
    #: The process that reads it.
    owner: int
    readers: int = 0
    #: Done when its content is there.
    ready: Future[None] = field(default_factory=Future)


class ReadCache:
    """Whole objects, and columns of large Parquet objects, below a folder that processes may share. Thread-safe.

    What is kept takes at most `max_bytes` of the disk, and least recently used goes first. What is being read comes on top: an
    object is readable however small the cache is. Parquet objects of at least `range_bytes` (None: none) are fetched by ranges
    when few of their columns are wanted. Nothing is touched before the first use.
    """

    def __init__(self, folder: Path, max_bytes: int, *, range_bytes: int | None = None) -> None:
        self.folder, self.max_bytes, self._range_bytes = folder, max_bytes, range_bytes
        self._staging = StagingArea(folder / "readers")
        self.shelf = CacheStore(folder / "objects", max_bytes, before_evicting=partial(self._staging.sweep, 0.0))
        self._counting = Counting()
        self._downloader = CacheDownloader(self.shelf, self._counting)
        self._lock = threading.Lock()
        self._in_use: dict[str, list[_InUse]] = {}
        self._here: Path | None = None
        self._owner, self._made = 0, 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the same folder."""
        return partial(ReadCache, range_bytes=self._range_bytes), (self.folder, self.max_bytes)

    @property
    def counts(self) -> CacheCounts:
        """What this object has found and fetched so far."""
        return self._counting.counts

    @contextmanager
    def reading(self, store: Fetchable, wanted: Sequence[ObjectRequest]) -> Iterator[list[Path]]:
        """Local files with the objects' content, in order; what is missing is fetched, several at a time.

        The files stay what and where they are inside the `with`, whatever is evicted or deleted meanwhile; an object that is read
        whole has one path while anybody reads it. Of a Parquet object that is wanted for some columns the rest may be a hole.

        Raises:
            MissingObjectError, UnavailableError: as the store. StorageFullError: the cache's disk is full.
        """
        with ExitStack() as stack:
            yield self._paths(store, wanted, stack)

    def sweep(self) -> int:
        """Remove what dead processes have left; returns how many there were."""
        return self._staging.sweep(0.0)

    def unkept_bytes(self) -> int:
        """Bytes of the disk that files take which processes fetch or read now and that are not kept."""
        found = 0
        for path in (self.folder / "readers").glob("*/*/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found += allocated(status) if status.st_nlink == 1 else 0
        return found

    def _paths(self, store: Fetchable, wanted: Sequence[ObjectRequest], stack: ExitStack) -> list[Path]:
        while True:
            with ExitStack() as attempt, cache_failures(self.folder):
                try:
                    paths = self._held(store, wanted, attempt)
                except CancelledError:
                    continue  # another thread was to fetch one of them, and was stopped before it began
                stack.push(attempt.pop_all())
                return paths

    def _held(self, store: Fetchable, wanted: Sequence[ObjectRequest], stack: ExitStack) -> list[Path]:
        taken: list[_InUse] = []
        missing: list[tuple[_InUse, ObjectRequest]] = []
        folder = self._own_folder()
        try:
            for one in wanted:
                use, is_new = self._take(folder, store, one)
                stack.callback(self._leave, use)
                taken.append(use)
                if is_new and not self._is_kept(use, one):
                    missing.append((use, one))
            self._counting.add(objects_found=len(taken) - len(missing))
            if missing:
                self._fetch(store, missing)
        except BaseException:
            self._cancel([use for use, _ in missing])
            raise
        for use in taken:
            use.ready.result()
        return [use.path for use in taken]

    def _take(self, folder: Path, store: Fetchable, one: ObjectRequest) -> tuple[_InUse, bool]:
        """The file of an object, with one reader more, and whether nobody has begun to fill it."""
        digest = hashlib.sha256(f"{store.key}\0{one.name}".encode()).hexdigest()[:40]
        columns = self._columns(one)
        with self._lock:
            known = next((use for use in self._in_use.get(digest, ()) if covers(use.columns, columns)), None)
            use = known or self._new(folder, digest, columns, PurePosixPath(one.name).suffix)
            use.readers += 1
            return use, known is None

    def _columns(self, one: ObjectRequest) -> Columns:
        is_ranged = self._range_bytes is not None and one.bytes >= self._range_bytes and one.name.endswith(_RANGED)
        return one.columns if is_ranged else None

    def _own_folder(self) -> Path:
        with self._lock:
            # a fork must not use what its parent unlinks
            if self._owner != os.getpid():
                self._in_use, self._owner, self._here = {}, os.getpid(), None
            if self._here is None or not self._here.exists():
                self.sweep()
                self._here = self._staging.folder("files")
                weakref.finalize(self, _remove_empty, self._here)
            return self._here

    def _new(self, folder: Path, digest: str, columns: Columns, suffix: str) -> _InUse:
        self._made += 1
        use = _InUse(digest=digest, path=folder / f"{self._made:08d}{suffix}", columns=columns, owner=self._owner)
        self._in_use.setdefault(digest, []).append(use)
        return use

    def _is_kept(self, use: _InUse, one: ObjectRequest) -> bool:
        """Take the file from what is kept, if it is there."""
        try:
            found = self.shelf.take(use.digest, use.columns, size=one.bytes, to=use.path)
        except BaseException as error:
            self._fail(use, error)
            raise
        if found:
            use.ready.set_result(None)
        return found

    def _fetch(self, store: Fetchable, missing: Sequence[tuple[_InUse, ObjectRequest]]) -> None:
        threads = min(store.concurrency, len(missing))
        with span("fetch", objects=len(missing)) as noting, ThreadPoolExecutor(threads, "read-cache") as pool:
            before = self.counts
            for use, one in missing:
                pool.submit(self._fill, store, one, use)
            try:
                for use, _ in missing:
                    use.ready.result()
            except BaseException:
                self._cancel([use for use, _ in missing])
                raise
            spent = self.counts
            noting.note(
                fetched_bytes=spent.fetched_bytes - before.fetched_bytes, needed_bytes=spent.needed_bytes - before.needed_bytes
            )

    def _fill(self, store: Fetchable, one: ObjectRequest, use: _InUse) -> None:
        if not use.ready.set_running_or_notify_cancel():
            return
        try:
            use.columns = self._downloader.fill(store, one, use.digest, use.columns, to=use.path)
        except BaseException as error:
            self._fail(use, error)
        else:
            use.ready.set_result(None)

    def _cancel(self, uses: Sequence[_InUse]) -> None:
        """What nobody has begun to fetch shall not be waited for: others who want it do it themselves."""
        for use in uses:
            if use.ready.cancel():
                self._forget(use)

    def _fail(self, use: _InUse, error: BaseException) -> None:
        self._forget(use)
        use.path.unlink(missing_ok=True)
        use.ready.set_exception(error)

    def _leave(self, use: _InUse) -> None:
        with self._lock:
            use.readers -= 1
            is_last = use.readers == 0 and use.owner == os.getpid()
            if is_last:
                self._withdraw(use)
        if is_last:
            with suppress(FileNotFoundError):
                os.utime(use.path)  # what is kept is the same file: it was used until now
                use.path.unlink()

    def _forget(self, use: _InUse) -> None:
        with self._lock:
            self._withdraw(use)

    def _withdraw(self, use: _InUse) -> None:
        """Nobody shall find the file from now on; the caller holds the lock."""
        uses = self._in_use.get(use.digest, [])
        if use in uses:
            uses.remove(use)
        if not uses:
            self._in_use.pop(use.digest, None)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
