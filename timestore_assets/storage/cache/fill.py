"""Filling one file of the read cache: whole or by ranges, durable, kept if there is room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.errors import StorageFullError, UnavailableError
from timestore_assets.storage.cache.counts import Counting
from timestore_assets.storage.cache.ranged import fetch_columns
from timestore_assets.storage.cache.shelf import FULL, Columns, Shelf
from timestore_assets.storage.port import Wanted

if TYPE_CHECKING:
    from timestore_assets.storage.cache.read_cache import Fetchable


class Filler:
    """Fills files that nobody else knows yet, and hands them to the shelf."""

    def __init__(self, shelf: Shelf, counting: Counting) -> None:
        self._shelf, self._counting = shelf, counting

    def fill(self, store: Fetchable, one: Wanted, digest: str, columns: Columns, *, to: Path) -> Columns:
        """Make the local file of an object; returns the columns it holds, which may be all where only some are wanted.

        A full disk costs what is kept first.

        Raises:
            MissingObjectError, UnavailableError: as the store. OSError: the file can't be written.
        """
        try:
            held = self._filled(store, one, digest, columns, to)
        except (OSError, StorageFullError) as error:
            if isinstance(error, OSError) and error.errno not in FULL:
                raise
            to.unlink(missing_ok=True)
            self._shelf.clear()
            held = self._filled(store, one, digest, columns, to)
        self._counting.add(objects_fetched=1)
        if not self._kept(to, digest, held):
            self._counting.add(objects_unkept=1)
        return held

    def _filled(self, store: Fetchable, one: Wanted, digest: str, columns: Columns, to: Path) -> Columns:
        if columns is not None:
            with self._shelf.parts(digest, size=one.bytes) as parts:
                fetched = fetch_columns(store, one.name, size=one.bytes, columns=columns, to=to, parts=parts)
            self._counting.add(fetched_bytes=fetched.bytes, needed_bytes=fetched.needed)
            if fetched.is_done:
                _seal(to)
                return columns
        store.download(one.name, to)
        size = to.stat().st_size
        self._counting.add(fetched_bytes=size, needed_bytes=size)
        if size != one.bytes:
            raise UnavailableError(
                f"object {one.name} has {size:,} bytes where {one.bytes:,} are catalogued; run `timestore verify`"
            )
        _seal(to)
        return None

    def _kept(self, path: Path, digest: str, columns: Columns) -> bool:
        try:
            return self._shelf.keep(path, digest, columns)
        except OSError as error:
            # the file itself is there and can be read
            if error.errno not in FULL:
                raise
            return False


def _seal(path: Path) -> None:
    """Durable and read-only, so that neither a power cut nor a DuckDB shell can leave something half under its name."""
    path.chmod(0o444)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
