"""Columns of a Parquet object as a local file with holes: the footer and the asked chunks lie where they lie in the object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from timestore_assets.model.errors import BadFileError
from timestore_assets.storage.cache.column_chunks import PIECE, ColumnChunks, Span, coalesced, length

if TYPE_CHECKING:
    from timestore_assets.storage.cache.read_cache import Fetchable

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
class Part:
    """A file of before that holds some columns of the same object."""

    columns: frozenset[str]
    file: BinaryIO


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnsFetched:
    """`is_done`: the file is there, else the object has to be fetched whole. `bytes` came, `needed` of them were asked for."""

    is_done: bool
    bytes: int
    needed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tail:
    """The end of an object from byte `at` on, and the chunks before it. `fetched`: bytes that came for it."""

    at: int
    content: bytes
    chunks: ColumnChunks | None
    fetched: int


def fetch_columns(
    store: Fetchable, name: str, *, size: int, columns: frozenset[str], to: Path, parts: Sequence[Part] = ()
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


def _local_tail(name: str, size: int, part: Part) -> _Tail:
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
