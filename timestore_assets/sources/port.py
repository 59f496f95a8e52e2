"""What a source hands to landing: batches of raw records with the positions they span.

Nothing behind this knows files from topics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from timestore_assets.model.position import Position

if TYPE_CHECKING:
    import pyarrow as pa

Encoding = Literal["text", "json", "typed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRecord:
    """A record the source could not even cut into fields (ragged, unclosed quote, too long, invalid UTF-8, …).

    `code`: stable snake_case reason code. `reason`: one sentence. `raw`: original bytes (a prefix when over 1 MiB).
    `position`: as `__position`. `line`: 1-based first physical line, 0 when there are no lines.
    """

    code: str
    reason: str
    raw: bytes
    position: int
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
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
    `positions`: int64 array, `__position` of each row of `records`. `lines`: int64 array of 1-based line numbers or None.
    `raw(i)`: original bytes of row i (for a typed source the row as JSON).
    `bad`: records refused by the source; `read` = records.num_rows + len(bad), unless one row explodes into several later.
    `source_partitions`: int64 array, `__source` of each row; None when all are of the same. `envelope(i)`: of row i, for topics.
    """

    encoding: Encoding
    records: pa.Table
    positions: pa.Array[Any]
    lines: pa.Array[Any] | None
    bad: tuple[BadRecord, ...]
    raw: RawRows
    source_partitions: pa.Array[Any] | None = None
    envelope: Callable[[int], Envelope] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileBatch(Batch):
    """Consecutive records of one file: from checkpoint `start` to `end`; `last`: the file ends here."""

    start: Position
    end: Position
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
