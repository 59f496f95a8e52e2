"""Content hashes as sums, see `segments.content_hash`: those of parts add up to that of the whole."""

from __future__ import annotations

from collections.abc import Iterable

EMPTY = "0" * 32
"""Content hash of no rows."""
_HALF = 1 << 64


def combined(hashes: Iterable[str]) -> str:
    """The content hash of all rows of several parts, from the hashes of the parts."""
    high = low = 0
    for text in hashes:
        high += int(text[:16], 16)
        low += int(text[16:], 16)
    return f"{high % _HALF:016x}{low % _HALF:016x}"
