"""What a source hands to landing: batches of raw records with the positions they span.

Nothing behind this knows files from topics. Records that share an idempotency key have a digest, the same whichever way they
came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from timestore_assets.model.position import Position

if TYPE_CHECKING:
    import pyarrow as pa


def records_digest(records: Iterable[bytes | None]) -> str:
    """SHA-256 over the records' original bytes, as hex digits."""
    digest = hashlib.sha256()
    for record in records:
        # the length keeps the borders of the records part of the content
        digest.update(len(record or b"").to_bytes(8, "big") + (record or b""))
    return digest.hexdigest()


Encoding = Literal["text", "json", "typed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRecord:
    """A record the source could not even cut into fields (ragged, unclosed quote, too long, invalid UTF-8, …)."""

    #: Stable snake_case reason code.
    code: str
    #: One sentence.
    reason: str
    #: Original bytes (a prefix when over 1 MiB).
    raw: bytes
    #: As `__position`.
    position: int
    #: 1-based first physical line, 0 when there are no lines.
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordMetadata:
    """What a broker keeps beside a record's value. `headers`: names and values, in order."""

    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Records of one source, in order within each source partition.

    `encoding` says what `records` holds, one row a good record, in position order:
      * `text`: one nullable large_string/string column per field of the header (CSV); null = empty unquoted or null token;
      * `json`: a binary column `value` (one JSON document a row; null = tombstone), optionally `idempotency_key` (string);
      * `typed`: the file's own Arrow columns (Parquet, Arrow IPC).
    """

    encoding: Encoding
    records: pa.Table
    #: Int64 array, `__position` of each row of `records`.
    positions: pa.Array[Any]
    #: Int64 array of 1-based line numbers or None.
    lines: pa.Array[Any] | None
    #: Records refused by the source; `read` = records.num_rows + len(bad), unless one row explodes into several later.
    bad: tuple[BadRecord, ...]
    #: `raw(i)`: original bytes of row i (for a typed source the row as JSON).
    raw: RawRows
    #: Int64 array, `__source` of each row; None when all are of the same.
    source_partitions: pa.Array[Any] | None = None
    #: `envelope(i)`: of row i, for topics.
    envelope: Callable[[int], RecordMetadata] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileBatch(Batch):
    """Consecutive records of one file: from checkpoint `start` to `end`."""

    start: Position
    end: Position
    #: The file ends here.
    last: bool


class RawRows(Protocol):
    """Gives back the original bytes of a batch's rows."""

    def __call__(self, index: int) -> bytes | None: ...


@runtime_checkable
class ManyRawRows(RawRows, Protocol):
    """Raw rows that are made rather than kept, and made much faster together."""

    def many(self, indices: Sequence[int]) -> Sequence[bytes | None]:
        """What calling with each of the indices would give."""


class BatchReader(Protocol):
    """Reads one file from a position on."""

    def batches(self, start: Position, until: Position | None = None) -> Iterator[FileBatch]:
        """Batches from `start` to the end, or to `until`, each bounded by the reader's memory budget.

        Raises:
            BadFileError: the content as a whole can't be read from here (nothing of the failing batch is lost or counted).
        """
