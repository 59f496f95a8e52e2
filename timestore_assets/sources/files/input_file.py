"""A file to be landed, wherever it is: what readers, identification and what follows landing need of it.

What makes a local file the same file is its content's sha256; the etag is only a cheap hint that spares hashing again. Its name
is text: POSIX has names that are no UTF-8, and catalogs, reports and JSON take nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from timestore_assets.model.errors import BadFileError

if TYPE_CHECKING:
    import pyarrow as pa


_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")


def as_text(name: str) -> str:
    """A name or path as Python has it, its bytes that are no UTF-8 written as `\\xNN`."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def path_at(folder: Path, address: str) -> Path:
    """The file of an address below a folder, whether its name holds `\\xNN` or the bytes that this stands for."""
    path = folder / address
    if "\\x" not in address or os.path.lexists(path):
        return path
    original = folder / os.fsdecode(_ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), address.encode()))
    return original if os.path.lexists(original) else path


_READ_BYTES = 1 << 20


def hashed(file: InputFile) -> FileIdentity:
    """Hash a file by streaming, in constant memory.

    Raises:
        BadFileError: no regular, readable file is there, or it changed meanwhile (`changed_while_reading`).
    """
    before = file.status()
    digest, size = hashlib.sha256(), 0
    try:
        with file.open() as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(file.name, error) from None
    after = file.status()
    if after.etag != before.etag or after.size != size:
        raise changed(file.name)
    return FileIdentity(sha256=digest.hexdigest(), etag=before.etag, size=size)


PROCESSED = ".processed"
"""Ending of a renamed file; listings leave out files with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStatus:
    """What a file looks like from outside. `etag`: changes when its content does. `size`: stored bytes."""

    etag: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FileIdentity(FileStatus):
    """`sha256`: what makes the content the same content, hexadecimal; of the stored bytes where they can be had cheaply."""

    sha256: str


class InputFile(Protocol):
    """A file of a folder or an object store. It may change or go at any time; whoever reads compares its etag."""

    @property
    def address(self) -> str:
        """What the file is known by: its path below its source's prefix, or in full; `/`-separated."""

    @property
    def name(self) -> str:
        """The last part of its path, for messages and to guess its format."""

    @property
    def expected_bytes(self) -> int:
        """Its size as far as that is known without asking anybody; 0 when it isn't."""

    def status(self) -> FileStatus:
        """What it looks like now.

        Raises:
            BadFileError: `missing`, `not_a_file` or `unreadable`. UnavailableError: its store can't be reached.
        """

    def looks(self) -> FileStatus | None:
        """The same for whatever is there, a readable file or not; None when nothing is."""

    def identify(self) -> FileIdentity:
        """What content it has.

        Raises:
            BadFileError: as `status`; `changed_while_reading`.
        """

    def open(self) -> IO[bytes]:
        """Its stored bytes, from the beginning; it can seek. Errors as `status`, and OSError while reading."""

    def for_arrow(self) -> Path | pa.NativeFile:
        """What `pyarrow.parquet.ParquetFile` reads it from; errors as `open`."""

    def delete(self) -> None:
        """Delete it; OSError when that can't be done."""

    def mark_processed(self) -> None:
        """Give it a name with `.processed`; OSError when that can't be done."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """`InputFile` on a local file system. `address`: its absolute path when none is given."""

    path: Path
    address: str = ""

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", as_text(self.path.absolute().as_posix()))

    @property
    def name(self) -> str:
        """See `InputFile`."""
        return as_text(self.path.name)

    @property
    def expected_bytes(self) -> int:
        """See `InputFile`."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def status(self) -> FileStatus:
        """See `InputFile`; links are followed, and the etag is inode, modification time and size."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            code, what = ("broken_link", "is a link to a file that") if self.path.is_symlink() else ("missing", "")
            raise BadFileError(code, f"{self.name} {what} does not exist".replace("  ", " ")) from None
        except OSError as error:
            raise unreadable(self.name, error) from None
        if stat.S_ISDIR(found.st_mode):
            raise BadFileError("not_a_file", f"{self.name} is a directory, not a file; name the files in it")
        if not stat.S_ISREG(found.st_mode):
            raise BadFileError("not_a_file", f"{self.name} is a pipe, socket or device, not a file")
        return FileStatus(etag=etag_of(found), size=found.st_size)

    def looks(self) -> FileStatus | None:
        """See `InputFile`."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return FileStatus(etag=etag_of(found), size=found.st_size)

    def identify(self) -> FileIdentity:
        """See `InputFile`; the identity is the sha256 of the stored bytes."""
        return hashed(self)

    def open(self) -> IO[bytes]:
        """See `InputFile`."""
        return self.path.open("rb", buffering=0)

    def for_arrow(self) -> Path | pa.NativeFile:
        """See `InputFile`."""
        if self.name == self.path.name:
            return self.path
        import pyarrow as pa

        return pa.PythonFile(self.path.open("rb"))  # Arrow takes no path that is no text

    def delete(self) -> None:
        """See `InputFile`."""
        self.path.unlink(missing_ok=True)

    def mark_processed(self) -> None:
        """See `InputFile`; a number is added where the name is taken."""
        names = (self.path.with_name(f"{self.name}{f'.{n}' if n else ''}{PROCESSED}") for n in itertools.count())
        self.path.rename(next(name for name in names if not name.exists()))


def etag_of(status: os.stat_result) -> str:
    """Inode, modification time in nanoseconds and size of a local file, as one text."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def unreadable(name: str, error: OSError) -> BadFileError:
    """A refusal of the operating system or store as a reason that names the file without its folder."""
    return BadFileError("unreadable", f"{name} cannot be read: {(error.strerror or type(error).__name__).lower()}")


def changed(name: str) -> BadFileError:
    """The reason for a file that did not keep still."""
    return BadFileError("changed_while_reading", f"{name} changed while it was being read; it is looked at again later")
