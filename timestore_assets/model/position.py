"""How far a source partition has been read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Position:
    """The next thing to read in a source partition.

    `offset`: next byte of the decoded content (text files), next row index (Parquet) or next broker offset (topics);
    it only grows, and a record's own `__position` is the offset at which it began. `line`: physical lines of a text file
    already read (so that reports can name a line number); 0 elsewhere.
    """

    offset: int = 0
    line: int = 0


START = Position()
