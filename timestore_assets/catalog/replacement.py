"""Finding out that the catalog is not the one that was opened: its file was removed or replaced, or its database set back."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from timestore_assets.model.errors import CatalogReplacedError

_RESTART = "nothing more is read or written by this process, start it again once the right catalog is in place"


class Replacement:
    """Whether a catalog is still the one that this process opened. Thread-safe.

    `place`: what errors call it. A SQLite file is known by its device and inode, so it may be moved away and come back, but a
    copy is another; `file` is None for a server's database, about which `found` tells.
    """

    def __init__(self, place: str, file: Path | None) -> None:
        self._place = place
        self._file = None if file is None else os.path.abspath(file)  # noqa: PTH100 - a link may be pointed at another file
        self._opened: tuple[int, int] | None = None
        self._reason = ""
        self._lock = threading.Lock()
        self._connections, self._process = 0, os.getpid()
        self._log: tuple[int, int] | None = None

    def opened(self, _connection: sqlite3.Connection) -> None:
        """A connection was opened: the first says which file is meant, each later one must be on the same.

        Raises:
            CatalogReplacedError: it is on another.
        """
        with self._lock:
            if self._process != os.getpid():
                self._connections, self._process, self._log = 0, os.getpid(), None
            self._connections += 1
        if self._opened is None:
            self._opened = self._identity()
        self.require()

    def closed(self) -> None:
        """A connection was closed. With the last of a process its write-ahead log may go, and the next is another."""
        with self._lock:
            self._connections -= 1
            if self._connections <= 0:
                self._log = None

    def found(self, what: str) -> CatalogReplacedError:
        """Something showed that the catalog is another by now, which stays so; the error to raise."""
        self._reason = f"{self._place} can't be used any more, it {what} under this process; {_RESTART}"
        return CatalogReplacedError(self._reason)

    def require(self) -> None:
        """Cheap enough for every transaction: one look at the folder.

        Raises:
            CatalogReplacedError: the file is gone or another, or `found` was told so before.
        """
        if self._reason:
            raise CatalogReplacedError(self._reason)
        if self._opened is not None and (now := self._identity()) != self._opened:
            what = "was removed" if now is None else "was replaced by another file"
            # not kept: a file that was moved away may come back
            raise CatalogReplacedError(f"{self._place} can't be used any more, it {what} under this process; {_RESTART}")
        if self._log is not None and (log := _identity(f"{self._file}-wal")) is not None and log != self._log:
            raise CatalogReplacedError(
                f"{self._place} can't be used any more, it has another write-ahead log than this process; {_RESTART}"
            )

    def log_is_gone(self) -> bool:
        """Whether the write-ahead log was removed under this process; to be asked after a commit.

        What is in it can be read through connections that are open, and is lost with them unless it is brought into the file.
        """
        if self._file is None:
            return False
        log = _identity(f"{self._file}-wal")
        if self._log is None:
            self._log = log
        return log is None

    def _identity(self) -> tuple[int, int] | None:
        return None if self._file is None else _identity(self._file)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - half the time of Path's, in every transaction
    except OSError:
        return None
    return status.st_dev, status.st_ino


class SeenVersions:
    """The newest manifest versions that this process has seen: they only grow, unless the catalog is set back. Thread-safe."""

    def __init__(self, replacement: Replacement) -> None:
        self._replacement = replacement
        self._lock = threading.Lock()
        self._seen: Mapping[int, int] = {}

    @property
    def seen(self) -> Mapping[int, int]:
        """By dataset's id, in a mapping that is replaced and never changed: to be taken before what is compared is read."""
        return self._seen

    def note(self, dataset_id: int, version: int, seen: Mapping[int, int]) -> None:
        """Compare what was read with what had been seen before.

        Raises:
            CatalogReplacedError: it is older.
        """
        if version < seen.get(dataset_id, 0):
            raise self._replacement.found("was replaced by another, or set back to an older state,")
        if version > self._seen.get(dataset_id, 0):
            with self._lock:
                self._seen = {**self._seen, dataset_id: max(version, self._seen.get(dataset_id, 0))}
