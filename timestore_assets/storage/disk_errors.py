"""What a disk that is full or can't be used means, as errors of this project: what the system says, and DuckDB in its words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timestore_assets.model.errors import StorageFullError, TimestoreError, UnavailableError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV)
_SAID_FULL = ("No space left", "Disk quota exceeded")
_SAID_FORBIDDEN = ("Permission denied", "Read-only file system")


def is_full(error: OSError) -> bool:
    """Whether the disk, or somebody's share of it, is full."""
    return error.errno in _FULL


def says_full(text: str) -> bool:
    """The same of a message of DuckDB."""
    return any(words in text for words in _SAID_FULL)


def no_room(place: str, doing: str) -> StorageFullError:
    """`doing`: what was under way, as it reads after "while" (`writing segments`)."""
    return StorageFullError(f"no room left {place} while {doing}; free some and run it again")


def not_written(folder: Path, doing: str, error: OSError) -> UnavailableError:
    """What it means that a file in the staging area could not be written."""
    if is_full(error) or error.errno == errno.EFBIG:
        return no_room(f"in {folder}", doing)
    reason = error.strerror or str(error)
    return UnavailableError(f"{doing} in {folder} failed ({reason}); check the disk and the folder's owner and mode")


def not_spilled(folder: Path, doing: str, text: str) -> UnavailableError | None:
    """What a message of DuckDB says about the disk on which `folder` is; None when it says nothing about it."""
    if says_full(text):
        return no_room(f"in {folder}", doing)
    if "max_temp_directory_size" in text:
        return no_room(f"for temporary files in {folder}", doing)
    if any(words in text for words in _SAID_FORBIDDEN):
        return UnavailableError(f"no right to use {folder} while {doing}; check its owner and mode")
    return None


@contextmanager
def file_failures(root: Path, *, needed: int = 0) -> Iterator[None]:
    """Turn the operating system's refusals into errors of this project that name the folder and what to do.

    `needed`: bytes that were to be written, where that is known.

    Raises:
        StorageFullError, UnavailableError: in place of OSError.
    """
    try:
        yield
    except TimestoreError:
        raise
    except OSError as error:
        if is_full(error):
            bytes_needed = f"{needed:,} bytes are needed; " if needed else ""
            raise StorageFullError(f"no room left in {root}: {bytes_needed}free some and run it again") from error
        if error.errno == errno.EXDEV:
            raise UnavailableError(f"staging and storage must be on one file system, and {root} is on another") from error
        raise UnavailableError(f"storage {root} can't be used: {error.strerror or error} ({error.filename})") from error


@contextmanager
def cache_failures(folder: Path) -> Iterator[None]:
    """The same for the read cache, with the setting that puts it elsewhere."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StorageFullError(
                f"no room left in the read cache {folder}; free some, or set TIMESTORE_QUERY_CACHE_DIR to another disk"
            ) from error
        problem = "its file system has no hard links" if error.errno in _NO_LINKS else f"{error.strerror or error}"
        raise UnavailableError(
            f"the read cache {folder} can't be used: {problem}; set TIMESTORE_QUERY_CACHE_DIR to another folder"
        ) from error
