"""Text of two or four bytes a character, given on as UTF-8: a stream behind which every reader works as if the file held that."""

from __future__ import annotations

import codecs
from types import TracebackType

import numpy as np

from timestore_assets.model.errors import BadFileError
from timestore_assets.model.text_encoding import WIDE
from timestore_assets.sources.files.compression import Compression, DecodedStream
from timestore_assets.sources.files.input_file import InputFile

_PIECE_BYTES = 1 << 20


def open_text(file: InputFile, encoding: str) -> DecodedStream | WideTextStream:
    """The decoded bytes of a text file, as UTF-8 where its encoding is a wide one."""
    return WideTextStream(file, encoding) if encoding in WIDE else DecodedStream(file)


class WideTextStream:
    """As `DecodedStream`; offsets count bytes of UTF-8, as those of compressed files count decompressed ones."""

    def __init__(self, file: InputFile, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        self._inner = DecodedStream(file)
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._text, self._ended = b"", False
        self.offset = 0

    def __enter__(self) -> WideTextStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._inner.close()

    @property
    def compression(self) -> Compression:
        return self._inner.compression

    @property
    def stored_bytes_read(self) -> int:
        """See `DecodedStream`."""
        return self._inner.stored_bytes_read

    def fill(self, buffer: memoryview) -> int:
        """See `DecodedStream.fill`.

        Raises:
            BadFileError: `bad_encoding` too, the bytes are no text of the encoding.
        """
        done = 0
        while done < len(buffer) and self._more():
            piece = self._text[: len(buffer) - done]
            buffer[done : done + len(piece)] = piece
            self._text = self._text[len(piece) :]
            done += len(piece)
        self.offset += done
        return done

    def at_end(self) -> bool:
        return not self._more()

    def peek(self, count: int) -> bytes:
        """See `DecodedStream.peek`."""
        while len(self._text) < count and self._read():
            pass
        return self._text[:count]

    def skip_to(self, offset: int) -> None:
        """See `DecodedStream.skip_to`; everything before is decoded."""
        scratch = np.empty(_PIECE_BYTES, np.uint8).data
        while self.offset < offset:
            if not self.fill(scratch[: min(len(scratch), offset - self.offset)]):
                raise BadFileError("truncated", f"{self._file.name} ends at byte {self.offset}, before the {offset} already read")

    def _more(self) -> bool:
        """Whether there is any text left; some of it is at hand then."""
        while not self._text and self._read():
            pass
        return bool(self._text)

    def _read(self) -> bool:
        """Decode one more piece; False at the end."""
        if self._ended:
            return False
        piece = bytearray(_PIECE_BYTES)
        size = self._inner.fill(memoryview(piece))
        self._ended = size < _PIECE_BYTES
        try:
            self._text += self._decoder.decode(bytes(piece[:size]), self._ended).encode()
        except UnicodeError:
            reason = f"{self._file.name} is not valid {self._encoding} near byte {self._inner.offset}"
            raise BadFileError("bad_encoding", reason) from None
        return True
