"""How far a feed is ahead of those who land it, in bytes of each topic partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

MOST_AHEAD_BYTES = 3_000_000
"""What may be written and not landed yet: well below what the embedded broker keeps, which it drops by whole batches."""
UNKNOWN_RECORD_BYTES = 600
"""Taken for a record that was there before the feed: its size isn't known, and too much only makes the feed wait."""


class Ahead:
    """A ledger: bytes count from when they are sent until the checkpoint has passed them.

    Args:
        ends: of each partition the oldest and the next offset at the start of the feed.
        landed: next offset to land by partition; what is missing has landed nothing.
    """

    def __init__(self, ends: Mapping[int, tuple[int, int]], landed: Mapping[int, int], *, most: int = MOST_AHEAD_BYTES) -> None:
        self._most = most
        self._bytes = dict.fromkeys(ends, 0)
        self._written: dict[int, deque[tuple[int, int]]] = {number: deque() for number in ends}
        for number, (low, high) in ends.items():
            before = high - max(low, landed.get(number, low))
            if before > 0:
                self.sent(number, before * UNKNOWN_RECORD_BYTES)
                self.written(number, high - 1, before * UNKNOWN_RECORD_BYTES)

    def has_room(self, number: int, size: int) -> bool:
        """Whether so many bytes more may be sent; a single record always may."""
        return self._bytes[number] == 0 or self._bytes[number] + size <= self._most

    def sent(self, number: int, size: int) -> None:
        self._bytes[number] += size

    def written(self, number: int, offset: int, size: int) -> None:
        """The broker has the record at this offset; offsets of a partition come in order."""
        self._written[number].append((offset, size))

    def landed(self, checkpoints: Mapping[int, int]) -> bool:
        """Strike out what lies before the checkpoints (next offset by partition); whether that was anything."""
        before = sum(self._bytes.values())
        for number, position in checkpoints.items():
            written = self._written.get(number, deque())
            while written and written[0][0] < position:
                self._bytes[number] -= written.popleft()[1]
        return sum(self._bytes.values()) < before
