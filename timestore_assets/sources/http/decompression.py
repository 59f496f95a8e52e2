"""`Content-Encoding`: compressed bodies, decoded up to a limit and no further."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import pyarrow as pa

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.http.body import TooManyBytesError

Compression = Literal["gzip", "zstd"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
_PIECE_BYTES = 1 << 20


def decompressed(data: bytes, compression: Compression, *, limit: int) -> bytes:
    """The decoded bytes.

    Raises:
        TooManyBytesError: there are more than `limit`; no more than that has been decoded.
        BadFileError: `bad_compression`, the data is damaged, cut off or something else.
    """
    pieces, size = [], 0
    try:
        with pa.CompressedInputStream(cast("Any", pa.BufferReader(data)), compression) as stream:
            while piece := stream.read(_PIECE_BYTES):
                size += len(piece)
                if size > limit:
                    raise TooManyBytesError
                pieces.append(piece)
    except (OSError, pa.ArrowException):
        raise BadFileError("bad_compression", f"the body is not valid {compression}: it is damaged or cut off") from None
    return b"".join(pieces)
