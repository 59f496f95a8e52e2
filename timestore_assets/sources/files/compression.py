"""The decoded bytes of a stored file, plain or compressed, told by its first bytes and never by its name."""

from __future__ import annotations

import io
import zipfile
import zlib
from types import TracebackType
from typing import IO, Literal, Protocol, cast

import numpy as np
import pyarrow as pa

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.files.input_file import InputFile, unreadable

Compression = Literal["plain", "gzip", "zstd", "zip"]

_READABLE: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
}
_OTHER = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress (.Z)",
}
_SCRATCH_BYTES = 1 << 20
_PEEK_BYTES = 1 << 14
_DECODE_ERRORS = (zlib.error, EOFError, OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, pa.ArrowException)


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def close(self) -> None: ...


class ByteStream(Protocol):
    """Decoded bytes in order, see `DecodedStream`."""

    @property
    def offset(self) -> int: ...
    def fill(self, buffer: memoryview) -> int: ...
    def at_end(self) -> bool: ...


def compression_of(head: bytes, name: str) -> Compression:
    """How a file that begins with `head` is compressed.

    Raises:
        BadFileError: `unsupported_compression` for a kind that is not read here.
    """
    for magic, kind in _READABLE.items():
        if head.startswith(magic):
            return kind
    for magic, other in _OTHER.items():
        if head.startswith(magic):
            raise BadFileError("unsupported_compression", f"{name} is {other}-compressed; use gzip, zstd or no compression")
    return "plain"


class DecodedStream:
    """Reads a file's decoded bytes from any decoded offset on; a context manager.

    Attributes: `offset`, the decoded offset of the next byte; `compression`.
    """

    def __init__(self, file: InputFile) -> None:
        self._size = file.status().size
        self.offset = 0
        self._file, self._pending = file, b""
        try:
            self._stored: IO[bytes] = file.open()
        except OSError as error:
            raise unreadable(file.name, error) from None
        try:
            self.compression = compression_of(self._stored.read(8), file.name)
            self._stored.seek(0)
            self._source = self._decoder()
        except _DECODE_ERRORS as error:
            self._stored.close()
            raise self._refused(error) from None
        except BadFileError:
            self._stored.close()
            raise

    def __enter__(self) -> DecodedStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.compression != "plain":
            self._source.close()
        self._stored.close()

    @property
    def stored_bytes_read(self) -> int:
        """How far the stored file has been read, for progress; at most its size."""
        return 0 if self._stored.closed else self._stored.tell()

    def fill(self, buffer: memoryview) -> int:
        """Read until `buffer` is full or the content ends; returns the number of bytes read.

        Raises:
            BadFileError: the compressed stream is truncated or corrupt, or the disk failed.
        """
        done = min(len(self._pending), len(buffer))
        buffer[:done], self._pending = self._pending[:done], self._pending[done:]
        try:
            while done < len(buffer) and (count := self._source.readinto(buffer[done:])):
                done += count
        except _DECODE_ERRORS as error:
            raise self._refused(error) from None
        self.offset += done
        return done

    def at_end(self) -> bool:
        """Whether nothing is left to read."""
        return not self.peek(1)

    def peek(self, count: int) -> bytes:
        """The next bytes, `count` of them if there are so many, without consuming them."""
        if len(self._pending) < count:
            before, buffer = self.offset, bytearray(max(count, _PEEK_BYTES))
            self._pending = bytes(buffer[: self.fill(memoryview(buffer))])
            self.offset = before
        return self._pending[:count]

    def skip_to(self, offset: int) -> None:
        """Go forward to a decoded offset: by seeking when plain, else by decoding and dropping what lies before it.

        Raises:
            BadFileError: `truncated`, the content ends before that offset.
        """
        if self.compression == "plain" and offset <= self._size:
            self._pending, self.offset = b"", self._stored.seek(offset)
            return
        scratch = np.empty(_SCRATCH_BYTES, np.uint8).data
        while self.offset < offset:
            if not self.fill(scratch[: min(len(scratch), offset - self.offset)]):
                raise BadFileError("truncated", f"{self._file.name} ends at byte {self.offset}, before the {offset} already read")

    def _decoder(self) -> _Readable:
        if self.compression in ("gzip", "zstd"):  # twice as fast as gzip.GzipFile; reads concatenated members as well
            return cast(
                "_Readable", pa.CompressedInputStream(pa.PythonFile(cast("io.IOBase", self._stored), "r"), self.compression)
            )
        if self.compression == "zip":
            return cast("_Readable", _only_member(zipfile.ZipFile(self._stored), self._file.name))
        return cast("_Readable", self._stored)

    def _refused(self, error: BaseException) -> BadFileError:
        name, text = self._file.name, str(error).lower()
        if self.compression == "plain":
            return unreadable(self._file.name, error if isinstance(error, OSError) else OSError(str(error)))
        if isinstance(error, EOFError) or "truncated" in text or "not a zip file" in text:
            return BadFileError(
                "truncated", f"{name} is a {self.compression} file that ends too early (after {self.offset} bytes)"
            )
        if "password" in text or "encrypted" in text:
            return BadFileError("encrypted", f"{name} is an encrypted zip archive; store it without a password")
        return BadFileError("corrupt", f"{name} is a {self.compression} file that is damaged (after {self.offset} bytes)")


def _only_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # `is_dir` fails on a name that is empty
    members = [
        item for item in archive.infolist() if not item.filename.endswith("/") and not item.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise BadFileError(
            "archive", f"{name} is a zip archive of {len(members)} files; only one that holds a single file is read"
        )
    return archive.open(members[0])
