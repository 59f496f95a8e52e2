"""Content hashes as sums, see `segments.content_hash`: those of parts add up to that of the whole.

A hash names its scheme before a colon (`q1f3a:` and 32 hex digits); the portable one has none. Only hashes of one scheme can be
compared or added up. That of no rows is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

EMPTY = "0" * 32
"""Content hash of no rows."""
_HALF = 1 << 64


def scheme_of(text: str) -> str | None:
    """How a hash was made: `""` for the portable one, None for that of no rows."""
    return None if text == EMPTY else text.rpartition(":")[0]


def have_one_scheme(hashes: Iterable[str]) -> bool:
    """Whether hashes can be compared with each other."""
    return len({scheme_of(text) for text in hashes} - {None}) <= 1


def combined(hashes: Iterable[str]) -> str:
    """The content hash of all rows of several parts, from the hashes of the parts.

    Raises:
        ValueError: they were not made in the same way.
    """
    schemes: set[str] = set()
    high = low = 0
    for text in hashes:
        if text != EMPTY:
            scheme, _, digits = text.rpartition(":")
            schemes.add(scheme)
            high += int(digits[:16], 16)
            low += int(digits[16:], 16)
    if len(schemes) > 1:
        raise ValueError(f"hashes of the schemes {', '.join(sorted(schemes))} do not add up")
    return hash_text(high, low, scheme="".join(schemes))


def hash_text(high: int, low: int, *, scheme: str) -> str:
    """A content hash from the sums of both its halves."""
    digits = f"{high % _HALF:016x}{low % _HALF:016x}"
    return f"{scheme}:{digits}" if scheme and digits != EMPTY else digits
