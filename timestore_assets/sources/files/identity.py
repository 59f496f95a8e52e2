"""What makes a file the same file: its content's sha256. The etag is only a cheap hint that spares hashing again."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.model.errors import BadFileError

_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FileIdentity:
    """`sha256`: of the stored bytes, hexadecimal. `etag`: see `etag_of`. `size`: stored bytes."""

    sha256: str
    etag: str
    size: int


def etag_of(status: os.stat_result) -> str:
    """Inode, modification time in nanoseconds and size of a local file, as one text."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def regular_file(path: Path) -> os.stat_result:
    """The status of a regular file (links are followed).

    Raises:
        BadFileError: `missing`, `not_a_file` (directory, pipe, socket, device) or `unreadable`.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        code, what = ("broken_link", "is a link to a file that") if path.is_symlink() else ("missing", "")
        raise BadFileError(code, f"{path.name} {what} does not exist".replace("  ", " ")) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise BadFileError("not_a_file", f"{path.name} is a directory, not a file; name the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise BadFileError("not_a_file", f"{path.name} is a pipe, socket or device, not a file")
    return status


def unreadable(path: Path, error: OSError) -> BadFileError:
    """The operating system's refusal as a reason that names the file without its folder."""
    return BadFileError("unreadable", f"{path.name} cannot be read: {(error.strerror or type(error).__name__).lower()}")


def changed(path: Path) -> BadFileError:
    """The reason for a file that did not keep still."""
    return BadFileError("changed_while_reading", f"{path.name} changed while it was being read; it is looked at again later")


def identify(path: Path) -> FileIdentity:
    """Hash a file by streaming, in constant memory.

    Raises:
        BadFileError: no regular, readable file is there, or it changed meanwhile (`changed_while_reading`).
    """
    before = etag_of(regular_file(path))
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(path, error) from None
    status = regular_file(path)
    if etag_of(status) != before or status.st_size != size:
        raise changed(path)
    return FileIdentity(sha256=digest.hexdigest(), etag=before, size=size)
