"""Where the columns of a Parquet segment lie in its file, from the footer alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timestore_assets.model.errors import BadFileError

Span = tuple[int, int]
"""Bytes `[start, end)` of an object."""

PIECE = 8 * 1024 * 1024
"""Longer spans are asked for in pieces of this size."""
_WRITER = "DuckDB"


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnChunks:
    """The chunks of a file of DuckDB's: indexes, bloom filters and the footer lie behind the `end` of the last chunk."""

    end: int
    _metadata: Any = field(repr=False)

    @classmethod
    def of(cls, name: str, content: Any) -> ColumnChunks | None:
        """From the end of a file, as bytes with the whole footer or as an open file; None when DuckDB has not written it.

        Raises:
            BadFileError: it is no Parquet file. `name`: how the message calls it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(pa.BufferReader(content) if isinstance(content, bytes) else content)
        except pa.ArrowException:
            raise BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`") from None
        if not (metadata.created_by or "").startswith(_WRITER):
            return None
        last = [metadata.row_group(metadata.num_row_groups - 1)] if metadata.num_row_groups else []
        # every column's last chunk may be the last of all
        ends = [_span(group.column(number))[1] for group in last for number in range(metadata.num_columns)]
        return cls(end=max(ends, default=0), _metadata=metadata)

    def spans(self, column: str) -> list[Span]:
        """Where the chunks of a column are, all leaves of a nested one; names are compared without their case."""
        found = self._metadata
        leaves = [number for number in range(found.num_columns) if _belongs(found.schema.column(number).path, column)]
        return [_span(found.row_group(group).column(leaf)) for group in range(found.num_row_groups) for leaf in leaves]


def needed_bytes(path: Path, columns: frozenset[str]) -> int:
    """Bytes of a local Parquet file that a reader of some columns needs: their chunks and all that lies behind the chunks."""
    size = path.stat().st_size
    chunks = ColumnChunks.of(path.name, path.read_bytes())
    return size if chunks is None else sum(length(chunks.spans(column)) for column in columns) + size - chunks.end


def coalesced(spans: Sequence[Span], *, limit: int, gap: int) -> list[Span]:
    """Spans in order without what lies at `limit` or beyond; those at most `gap` bytes apart are one, long ones several."""
    joined: list[Span] = []
    for start, end in sorted((start, min(end, limit)) for start, end in spans if start < min(end, limit)):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [(at, min(at + PIECE, end)) for start, end in joined for at in range(start, end, PIECE)]


def length(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def _belongs(path: str, column: str) -> bool:
    """Whether a leaf is of a column. Names may hold dots, so a leaf too many is possible and one too few is not."""
    folded, name = path.lower(), column.lower()
    return folded == name or folded.startswith(f"{name}.")


def _span(chunk: Any) -> Span:
    first = min(at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at)
    return first, first + chunk.total_compressed_size
