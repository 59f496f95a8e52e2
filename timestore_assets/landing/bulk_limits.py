"""How much of a large drop is worked on at a time."""

from __future__ import annotations

from dataclasses import dataclass

TYPED_BATCH_BYTES = 96_000_000
"""Arrow data of a batch of a typed file. Two batches are in memory and one of them twice, once rearranged: with 96 MB the peak
is 0.9 GB, with 192 MB 1.4 GB at no gain in speed (20 M rows of 47 bytes over 168 partitions)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkLimits:
    """`chunk_bytes`: stored bytes from which on a file is landed as parts of about that size.

    `commit_bytes`: Arrow data of a large file that one commit gathers. `parallel`: files or parts of files at a time.
    `batch_bytes`, `batch_rows`: what is judged at once, at most (of rows as many as fit when None).
    """

    chunk_bytes: int = 2_000_000_000
    commit_bytes: int = 1_000_000_000
    parallel: int = 2
    batch_bytes: int = TYPED_BATCH_BYTES
    batch_rows: int | None = None
