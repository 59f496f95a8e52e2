"""Columns of a Parquet object as a local file with holes: the footer and the asked chunks lie where they lie in the object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import BadFileError

if TYPE_CHECKING:
    from timestore_assets.storage.cache import Fetchable

Span = tuple[int, int]
"""Bytes `[start, end)` of an object."""

WORTH = 0.6
"""Part of an object from which on it is fetched whole, which needs no planning and serves every later reader."""
_GAP_BYTES = 512 * 1024  # cheaper to fetch than to ask anew
_GAP_PARTS = 64  # but never so much that the gaps of a small object make the most of it
_PIECE = 8 * 1024 * 1024
_BATCH_BYTES = 4 * _PIECE  # in memory at a time
_TAIL_PARTS = 256  # a tail of so small a part of the object nearly always holds its footer
_TAIL_BYTES = (64 * 1024, 1024 * 1024)
_MAGIC = b"PAR1"
_ENDING = 8  # length of the footer and magic
_WRITER = "DuckDB"


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnsFetched:
    """`is_done`: the file is there, else the object has to be fetched whole. `bytes` came, `needed` were asked for."""

    is_done: bool
    bytes: int
    needed: int


def fetch_columns(store: Fetchable, name: str, *, size: int, columns: frozenset[str], to: Path) -> ColumnsFetched:
    """Make a file of an object's size that holds its footer, all behind its last row group, and the chunks of some columns.

    Raises:
        MissingObjectError, UnavailableError: as the store. BadFileError: it is no Parquet file. OSError: no room.
    """
    tail_at, tail = _tail(store, name, size)
    chunks = _Chunks.of(name, tail, columns)
    if chunks is None:
        return ColumnsFetched(is_done=False, bytes=len(tail), needed=0)
    behind = (min(chunks.end, tail_at), tail_at)
    spans = coalesced([*chunks.wanted, behind], limit=tail_at, gap=min(size // _GAP_PARTS, _GAP_BYTES))
    fetched = len(tail) + _length(spans)
    if fetched > WORTH * size:
        return ColumnsFetched(is_done=False, bytes=len(tail), needed=0)
    with to.open("xb") as file:
        file.truncate(size)
        _put(file, tail_at, tail)
        for some in _batches(spans):
            for (start, _), content in zip(some, store.ranges(name, some), strict=True):
                _put(file, start, content)
    return ColumnsFetched(is_done=True, bytes=fetched, needed=_length(chunks.wanted) + size - chunks.end)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunks:
    """Where the `wanted` column chunks are, and the `end` of the last chunk of all."""

    wanted: list[Span]
    end: int

    @classmethod
    def of(cls, name: str, tail: bytes, columns: frozenset[str]) -> _Chunks | None:
        """From a footer; None when the file is not of DuckDB's layout, where all indexes and filters lie behind the chunks."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_metadata(pa.BufferReader(tail))
        except pa.ArrowException:
            raise BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`") from None
        if not (metadata.created_by or "").startswith(_WRITER):
            return None
        asked = [number for number in range(metadata.num_columns) if _belongs(metadata.schema.column(number).path, columns)]
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        wanted = [_span(group.column(number)) for group in groups for number in asked]
        # every column's last chunk may be the last of all
        end = max((_span(group.column(number))[1] for group in groups[-1:] for number in range(metadata.num_columns)), default=0)
        return cls(wanted=wanted, end=end)


def _belongs(path: str, columns: frozenset[str]) -> bool:
    """Whether a leaf is of one of these columns. Names may hold dots, so a leaf too many is possible and one too few is not."""
    folded = path.lower()
    return any(folded == name.lower() or folded.startswith(f"{name.lower()}.") for name in columns)


def needed_bytes(path: Path, columns: frozenset[str]) -> int:
    """Bytes of a local Parquet file that a reader of some columns needs: their chunks, the footer and what lies around it."""
    size = path.stat().st_size
    chunks = _Chunks.of(path.name, path.read_bytes(), columns)
    return size if chunks is None else _length(chunks.wanted) + size - chunks.end


def coalesced(spans: Sequence[Span], *, limit: int, gap: int) -> list[Span]:
    """Spans in order without what lies at `limit` or beyond; those at most `gap` bytes apart are one, long ones several."""
    joined: list[Span] = []
    for start, end in sorted((start, min(end, limit)) for start, end in spans if start < min(end, limit)):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [(at, min(at + _PIECE, end)) for start, end in joined for at in range(start, end, _PIECE)]


def _length(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def _span(chunk: Any) -> Span:
    first = min(at for at in (chunk.dictionary_page_offset, chunk.data_page_offset) if at)
    return first, first + chunk.total_compressed_size


def _tail(store: Fetchable, name: str, size: int) -> tuple[int, bytes]:
    """The end of an object with its whole footer, and where it begins."""
    low, high = _TAIL_BYTES
    at = max(0, size - min(max(size // _TAIL_PARTS, low), high))
    [tail] = store.ranges(name, [(at, size)])
    if tail[-4:] != _MAGIC or len(tail) != size - at:
        raise BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`")
    missing = _ENDING + int.from_bytes(tail[-_ENDING:-4], "little") - len(tail)
    if 0 < missing <= at:
        [more] = store.ranges(name, [(at - missing, at)])
        at, tail = at - missing, more + tail
    return at, tail


def _batches(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    batch: list[Span] = []
    for span in spans:
        if batch and _length([*batch, span]) > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(span)
    if batch:
        yield batch


def _put(file: Any, at: int, content: bytes) -> None:
    file.seek(at)
    file.write(content)
