"""Files that a read cache keeps: bounded by the disk space they take, least recently used first out, shared by processes.

Said first is what a cache takes objects from, and what it may hold of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote, unquote

from timestore_assets.file_access import make_folder, modes

Columns = frozenset[str] | None
"""Columns that a file holds or a reader wants; None is all of the object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialFile:
    """A file of before that holds some columns of an object."""

    columns: frozenset[str]
    file: BinaryIO


class Fetchable(Protocol):
    """An object store as the cache needs it. Calls block, and may come from several threads at once.

    Errors are those of this project: MissingObjectError for an object that is not there, UnavailableError for a store that is
    not; OSError or StorageFullError for a local file that can't be written.
    """

    @property
    def key(self) -> str:
        """Differs for any two stores that could hold different objects of one name: endpoint, bucket and prefix."""

    @property
    def concurrency(self) -> int:
        """Requests at a time, of one call."""

    def download(self, name: str, to: Path) -> None:
        """Write the whole object, verified by its checksum, to a new local file."""

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The object's bytes of each span `[start, end)`, in order."""


_WHOLE, _COLUMNS = "whole", "columns"
_LONGEST_NAME = 200  # bytes of a file name that columns may take
_BLOCK = 512  # bytes, of st_blocks on every system
_LOW_MARK = 0.9
"""To which part of the bound an eviction goes down, so that not every fill has to look through all files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheContents:
    """`files` that are kept and the `bytes` of the disk that they take."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    path: str
    bytes: int
    in_use: bool
    used_ns: int


class CacheStore:
    """The kept files below a folder. A file appears whole under its name, by a hard link, and is never changed.

    `max_bytes` bounds the disk space of all files at any time. Thread-safe, and safe with several processes: whoever adds or
    removes holds a lock that the kernel drops with the process. `before_evicting` lets go of files that only seem to be in use.
    """

    def __init__(self, folder: Path, max_bytes: int, *, before_evicting: Callable[[], object]) -> None:
        self._folder, self._max_bytes, self._before_evicting = folder, max_bytes, before_evicting

    def take(self, digest: str, columns: Columns, *, size: int, to: Path) -> bool:
        """Link a kept file of an object, whole or with these columns, to a name of the caller's own.

        Args:
            size: bytes of the object; a file of another size is damaged and goes.

        Returns:
            Whether there was one.
        """
        for path in self._candidates(digest, columns):
            with suppress(FileNotFoundError):
                os.link(path, to)
                if to.stat().st_size == size:
                    os.utime(to)
                    return True
                to.unlink()
                path.unlink(missing_ok=True)
        return False

    @contextmanager
    def parts(self, digest: str, *, size: int) -> Iterator[list[PartialFile]]:
        """Kept files with some columns of an object, open inside the `with`, whatever is evicted meanwhile."""
        with ExitStack() as stack:
            found = []
            for path in sorted(self._path(digest, frozenset()).parent.glob(f"{digest}.{_COLUMNS}.*")):
                with suppress(FileNotFoundError):
                    file = stack.enter_context(path.open("rb"))
                    if os.fstat(file.fileno()).st_size == size:
                        found.append(PartialFile(columns=_columns(path.name) or frozenset(), file=file))
            yield found

    def keep(self, path: Path, digest: str, columns: Columns) -> bool:
        """Keep a finished file of the caller's own, unless it alone exceeds the bound; returns whether it is kept."""
        size = allocated(path.stat())
        if size > self._max_bytes:
            return False
        target = self._path(digest, columns)
        with self._locked() as lock:
            if target.exists():
                return True
            kept = _read(lock)
            if kept is None or kept + size > self._max_bytes:
                kept = self._evict(int(self._max_bytes * _LOW_MARK) - size, at_least=self._max_bytes - size)
            # counted before it is there: after a kill between the two the sum is too high, and the next look puts it right
            _write(lock, kept + size)
            make_folder(target.parent)
            os.link(path, target)
        return True

    def clear(self) -> CacheContents:
        """Remove all files; those that are being read stay with their readers. Returns what there was."""
        if not self._folder.exists():
            return CacheContents()
        with self._locked() as lock:
            found = list(self._files())
            for one in found:
                Path(one.path).unlink(missing_ok=True)
            _write(lock, 0)
        return _contents(found)

    def contents(self) -> CacheContents:
        """What is kept now."""
        return _contents(list(self._files()))

    def _evict(self, target: int, *, at_least: int) -> int:
        """Remove files until what is left takes no more than `target`, if it takes more than `at_least`; returns what is left."""
        self._before_evicting()
        files = list(self._files())
        left = sum(one.bytes for one in files)
        if left <= at_least:
            return left
        # removing a file that somebody reads frees nothing now, and it is likely to be asked for again
        for one in sorted(files, key=lambda one: (one.in_use, one.used_ns)):
            if left <= max(target, 0):
                break
            Path(one.path).unlink(missing_ok=True)
            left -= one.bytes
        return left

    def _files(self) -> Iterator[_Kept]:
        for folder in self._folder.glob("*/"):
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield _Kept(path=entry.path, bytes=allocated(status), in_use=status.st_nlink > 1, used_ns=status.st_mtime_ns)

    def _candidates(self, digest: str, columns: Columns) -> Iterator[Path]:
        """Names under which a fitting file may be; the whole object first."""
        yield self._path(digest, None)
        if columns is None:
            return
        exact = self._path(digest, columns)
        yield exact
        with suppress(FileNotFoundError):
            for path in sorted(exact.parent.glob(f"{digest}.*")):
                if covers(_columns(path.name), columns):
                    yield path

    def _path(self, digest: str, columns: Columns) -> Path:
        return self._folder / digest[:2] / f"{digest}.{_name(columns)}"

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """While entered, nobody else adds or removes files; gives the open file that holds the sum of their sizes."""
        make_folder(self._folder)
        handle = os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, modes().file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)


def covers(held: Columns, wanted: Columns) -> bool:
    """Whether a file that holds some columns is good for a reader of others."""
    return held is None or (wanted is not None and wanted <= held)


def allocated(status: os.stat_result) -> int:
    """Bytes of the disk that a file takes; holes take none."""
    return status.st_blocks * _BLOCK


def _name(columns: Columns) -> str:
    """A file's name behind its object's: the columns themselves, or a hash, which only the same columns find again."""
    if columns is None:
        return _WHOLE
    text = "+".join(sorted(quote(name, safe="") for name in columns))
    return f"{_COLUMNS}.{text}" if len(text) <= _LONGEST_NAME else f"hash.{hashlib.sha256(text.encode()).hexdigest()}"


def _columns(name: str) -> Columns:
    """The columns that a file's name tells; none when it doesn't."""
    _, kind, *rest = name.split(".", 2)
    if kind == _WHOLE:
        return None
    return frozenset(unquote(one) for one in rest[0].split("+")) if kind == _COLUMNS and rest else frozenset()


def _contents(files: list[_Kept]) -> CacheContents:
    return CacheContents(files=len(files), bytes=sum(one.bytes for one in files))


def _read(lock: int) -> int | None:
    text = os.pread(lock, 32, 0)
    return int(text) if text.isdigit() else None


def _write(lock: int, size: int) -> None:
    os.pwrite(lock, b"%020d" % size, 0)
