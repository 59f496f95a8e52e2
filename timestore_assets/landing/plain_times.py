"""Columns of times all written in one plain form, told from their bytes: much quicker than a pattern for each text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FORM = "0000-00-00T00:00:00."
_SHORTEST, _LONGEST = 16, 40
_LENGTHS_WITHOUT_FRACTION = (16, 19)


def are_plain_times(times: pa.ChunkedArray, texts: pa.ChunkedArray) -> bool:
    """Whether all texts look like `2013-01-31T06:00:00.123Z`, with equally many digits, and so mean what a plain cast gives.

    `times`: what the cast gave, microseconds in UTC, null for impossible ones. Zone and fraction may be absent, the T a blank.
    Times before year 1, which such a text can also say, are no plain ones.
    """
    first = pc.min(times)
    if first.is_valid and first.value < _FIRST:
        return False
    return all(_plain(chunk) for chunk in texts.chunks)


_FIRST = -62135596800000000  # 0001-01-01 in microseconds since 1970


def _plain(texts: pa.Array) -> bool:
    valid = len(texts) - texts.null_count
    if not valid:
        return True
    if texts.type != pa.string():
        return False
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    width = int(lengths.max())
    size = int(offsets[-1] - offsets[0])
    # as long as the longest, or null: then the bytes are a matrix
    if not _SHORTEST <= width <= _LONGEST or size != width * valid or np.count_nonzero(lengths) != valid:
        return False
    matrix = np.frombuffer(texts.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(valid, width)
    form = _form(bytes(matrix[0]))
    if form is None:
        return False
    lowest = np.frombuffer(form, dtype=np.uint8)
    span = np.where(lowest == ord("0"), 9, 0).astype(np.uint8)
    return bool((matrix - lowest <= span).all())


def _form(text: bytes) -> bytes | None:
    """The form that a text of this length, separator and end has, its digits as zeros; None for no known one."""
    zone = b"Z" if text.endswith(b"Z") else b""
    length = len(text) - len(zone)
    if length not in _LENGTHS_WITHOUT_FRACTION and length <= len(_FORM):
        return None
    form = _FORM.ljust(length, "0")[:length].encode()
    return (form.replace(b"T", b" ") if text[10:11] == b" " else form) + zone
