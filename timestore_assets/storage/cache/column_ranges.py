"""Columns of a Parquet object as a local file with holes: the footer and the asked chunks lie where they lie in the object.

Where they lie is in the footer. A question about a few columns takes 1.4 to 3 times as long where whole objects are fetched
instead. Where DuckDB reads ranges itself, by obstore under a file system of fsspec, it takes 1.1 to 2 times as long, and, as that
keeps nothing, 1.7 to 7 times as long when it is asked again (segments of 20 MB, a store with 30 to 50 ms a request and 40 to
100 MB/s, 2 busy cores, medians of 5). Hence this module, and not less than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from timestore_assets.model.errors import BadFileError
from timestore_assets.storage.cache.cache_store import Fetchable, PartialFile

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


WORTH = 0.6
"""Part of an object from which on it is fetched whole, which needs no planning and serves every later reader."""
_GAP_BYTES = 512 * 1024  # cheaper to fetch than to ask anew
_GAP_PARTS = 64  # but never so much that the gaps of a small object make the most of it
_BATCH_BYTES = 4 * PIECE  # in memory at a time
_TAIL_PARTS = 256  # a tail of so small a part of the object nearly always holds its footer
_TAIL_BYTES = (64 * 1024, 1024 * 1024)
_MAGIC = b"PAR1"
_ENDING = 8  # length of the footer and magic


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnsFetched:
    """What fetching columns came to."""

    #: The file is there; else the object has to be fetched whole.
    is_done: bool
    #: That came.
    bytes: int
    #: Those of them that were asked for.
    needed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tail:
    """The end of an object from byte `at` on, and the chunks before it. `fetched`: bytes that came for it."""

    at: int
    content: bytes
    chunks: ColumnChunks | None
    fetched: int


def fetch_columns(
    store: Fetchable, name: str, *, size: int, columns: frozenset[str], to: Path, parts: Sequence[PartialFile] = ()
) -> ColumnsFetched:
    """Make a file of an object's size that holds its footer, all behind its last row group, and the chunks of some columns.

    What `parts` hold is copied from there.

    Raises:
        MissingObjectError, UnavailableError: as the store. BadFileError: it is no Parquet file. OSError: no room.
    """
    tail = _local_tail(name, size, parts[0]) if parts else _remote_tail(store, name, size)
    chunks = tail.chunks
    if chunks is None:
        return ColumnsFetched(is_done=False, bytes=tail.fetched, needed=0)
    holders = {column: next((part for part in parts if column in part.columns), None) for column in columns}
    wanted = [span for column, part in holders.items() if part is None for span in chunks.spans(column)]
    behind = (min(chunks.end, tail.at), tail.at)
    spans = coalesced([*wanted, behind], limit=tail.at, gap=min(size // _GAP_PARTS, _GAP_BYTES))
    fetched = tail.fetched + length(spans)
    if fetched > WORTH * size:
        return ColumnsFetched(is_done=False, bytes=tail.fetched, needed=0)
    with to.open("xb") as file:
        file.truncate(size)
        for column, part in holders.items():
            if part is not None:
                _copy(chunks.spans(column), part.file, file)
        for some in _batches(spans):
            for (start, _), content in zip(some, store.ranges(name, some), strict=True):
                _put(file, start, content)
        _put(file, tail.at, tail.content)
    footer = size - chunks.end if tail.fetched else 0
    return ColumnsFetched(is_done=True, bytes=fetched, needed=length(wanted) + footer)


def _remote_tail(store: Fetchable, name: str, size: int) -> _Tail:
    """The end of an object with its whole footer, in one request or two."""
    low, high = _TAIL_BYTES
    at = max(0, size - min(max(size // _TAIL_PARTS, low), high))
    [tail] = store.ranges(name, [(at, size)])
    if tail[-4:] != _MAGIC or len(tail) != size - at:
        raise BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`")
    missing = _ENDING + int.from_bytes(tail[-_ENDING:-4], "little") - len(tail)
    if 0 < missing <= at:
        [more] = store.ranges(name, [(at - missing, at)])
        at, tail = at - missing, more + tail
    return _Tail(at=at, content=tail, chunks=ColumnChunks.of(name, tail), fetched=len(tail))


def _local_tail(name: str, size: int, part: PartialFile) -> _Tail:
    """All that lies behind the chunks, which every part has."""
    chunks = ColumnChunks.of(name, part.file)
    at = size if chunks is None else chunks.end
    part.file.seek(at)
    return _Tail(at=at, content=part.file.read(size - at), chunks=chunks, fetched=0)


def _batches(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    batch: list[Span] = []
    for span in spans:
        if batch and length([*batch, span]) > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(span)
    if batch:
        yield batch


def _copy(spans: Sequence[Span], source: BinaryIO, file: BinaryIO) -> None:
    for start, end in coalesced(spans, limit=max((end for _, end in spans), default=0), gap=0):
        source.seek(start)
        _put(file, start, source.read(end - start))


def _put(file: BinaryIO, at: int, content: bytes) -> None:
    file.seek(at)
    file.write(content)
