"""Filling one file of the read cache: whole or by ranges, durable, kept if there is room.

What a cache has done is counted: objects found and fetched, bytes fetched and bytes that were needed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from pathlib import Path

from timestore_assets.file_access import seal, sync
from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets.storage.cache.cache_store import CacheStore, Columns, Fetchable
from timestore_assets.storage.cache.column_ranges import fetch_columns
from timestore_assets.storage.disk_errors import is_full
from timestore_assets.storage.object_store import ObjectRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheCounts:
    """Sums since a cache was opened."""

    #: Were there already.
    objects_found: int = 0
    #: Were not.
    objects_fetched: int = 0
    #: Were read without being kept, because they don't fit or the disk is full.
    objects_unkept: int = 0
    #: Came over the network.
    fetched_bytes: int = 0
    #: Of those, what was asked for: the wanted columns and the footer of an object that is read by ranges, else the whole object.
    needed_bytes: int = 0


class Counting:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = {one.name: 0 for one in fields(CacheCounts)}

    def add(self, **more: int) -> None:
        """Add to the sums of these names."""
        with self._lock:
            for name, value in more.items():
                self._sums[name] += value

    @property
    def counts(self) -> CacheCounts:
        with self._lock:
            return CacheCounts(**self._sums)


class CacheDownloader:
    """Fills files that nobody else knows yet, and hands them to the cache's store."""

    def __init__(self, shelf: CacheStore, counting: Counting) -> None:
        self._store, self._counting = shelf, counting

    def fill(self, store: Fetchable, one: ObjectRequest, digest: str, columns: Columns, *, to: Path) -> Columns:
        """Make the local file of an object; returns the columns it holds, which may be all where only some are wanted.

        A full disk costs what is kept first.

        Raises:
            MissingObjectError, UnavailableError: as the store. OSError: the file can't be written.
        """
        try:
            held = self._filled(store, one, digest, columns, to)
        except (OSError, StorageFullError) as error:
            if isinstance(error, OSError) and not is_full(error):
                raise
            to.unlink(missing_ok=True)
            self._store.clear()
            held = self._filled(store, one, digest, columns, to)
        self._counting.add(objects_fetched=1)
        if not self._kept(to, digest, held):
            self._counting.add(objects_unkept=1)
        return held

    def _filled(self, store: Fetchable, one: ObjectRequest, digest: str, columns: Columns, to: Path) -> Columns:
        if columns is not None:
            with self._store.parts(digest, size=one.bytes) as parts:
                fetched = fetch_columns(store, one.name, size=one.bytes, columns=columns, to=to, parts=parts)
            self._counting.add(fetched_bytes=fetched.bytes, needed_bytes=fetched.needed)
            if fetched.is_done:
                _finish(to)
                return columns
        store.download(one.name, to)
        size = to.stat().st_size
        self._counting.add(fetched_bytes=size, needed_bytes=size)
        if size != one.bytes:
            raise UnavailableError(
                f"object {one.name} has {size:,} bytes where {one.bytes:,} are catalogued; run `timestore verify`"
            )
        _finish(to)
        return None

    def _kept(self, path: Path, digest: str, columns: Columns) -> bool:
        try:
            return self._store.keep(path, digest, columns)
        except OSError as error:
            # the file itself is there and can be read
            if not is_full(error):
                raise
            return False


def _finish(path: Path) -> None:
    """Durable and read-only, so that neither a power cut nor a DuckDB shell can leave something half under its name."""
    seal(path)
    sync(path)
