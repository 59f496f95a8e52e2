"""What a request's body brings: its records, cut but not yet judged, and bodies of several requests as one batch.

A compressed body (`Content-Encoding`) is decoded up to a limit and no further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from timestore_assets.model.errors import BadFileError
from timestore_assets.sources.batches import BadRecord, Batch, Encoding, ManyRawRows, RawRows


class TooManyBytesError(Exception):
    """A body is larger, once it is decoded, than it may be."""


class TooManyRowsError(Exception):
    """A body holds more records than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestBody:
    """The records of one request.

    `encoding`, `records`, `raw`: as in `batches.Batch`.
    """

    encoding: Encoding
    #: Bodies of equal shape can be one batch.
    shape: Hashable
    records: pa.Table
    raw: RawRows
    #: Bytes of the decoded body.
    size: int
    #: Gives the digest of its records, as an archived envelope of them would have it.
    digest: Callable[[], str]
    #: Which record of the request each of `records` is, counted from 0; None: all of them, in order.
    places: npt.NDArray[np.int64] | None = None
    #: The others; their positions are places.
    bad: tuple[BadRecord, ...] = ()
    #: Names in its header, None without one.
    columns: tuple[str, ...] | None = None
    #: What else the request says that changes them.
    variant: str = ""

    @property
    def rows(self) -> int:
        """How many records the request brings."""
        return int(self.records.num_rows) + len(self.bad)

    def places_of_records(self) -> npt.NDArray[np.int64]:
        """The place in the request of each of `records`."""
        return np.arange(self.records.num_rows, dtype=np.int64) if self.places is None else self.places


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimits:
    """What a request may hold."""

    #: Of a decoded body.
    bytes: int
    #: Of one request.
    rows: int
    #: Longer records are refused one by one.
    record_bytes: int


class JoinedRows:
    """Original bytes of rows that come from several places (see `batches.ManyRawRows`). `rows`: how many from each of `raws`."""

    def __init__(self, rows: Sequence[int], raws: Sequence[RawRows]) -> None:
        self._starts, self._raws = np.cumsum([0, *rows]), raws

    def __call__(self, index: int) -> bytes | None:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._raws[part](index - int(self._starts[part]))

    def many(self, indices: Sequence[int]) -> list[bytes | None]:
        """See `batches.ManyRawRows.many`."""
        found: list[bytes | None] = [None] * len(indices)
        for part, wanted in self._by_part(indices).items():
            start, raw = int(self._starts[part]), self._raws[part]
            own = [indices[place] - start for place in wanted]
            made = raw.many(own) if isinstance(raw, ManyRawRows) else map(raw, own)
            for place, value in zip(wanted, made, strict=True):
                found[place] = value
        return found

    def _by_part(self, indices: Sequence[int]) -> dict[int, list[int]]:
        parts: dict[int, list[int]] = defaultdict(list)
        for place, part in enumerate(np.searchsorted(self._starts, np.asarray(indices), side="right") - 1):
            parts[int(part)].append(place)
        return parts


def join(bodies: Sequence[RequestBody], *, first: int) -> Batch:
    """One batch of bodies of equal shape.

    `first`: position of the first record; the records of all bodies, good and bad, are counted on from there.
    """
    positions, bad = _numbered(bodies, first)
    tables = [body.records for body in bodies]
    return Batch(
        encoding=bodies[0].encoding,
        # many small pieces cost every step of landing more than one copy does
        records=tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks(),
        positions=pa.array(positions),
        lines=None,
        bad=bad,
        raw=bodies[0].raw
        if len(bodies) == 1
        else JoinedRows([table.num_rows for table in tables], [body.raw for body in bodies]),
    )


def _numbered(bodies: Sequence[RequestBody], first: int) -> tuple[npt.NDArray[np.int64], tuple[BadRecord, ...]]:
    """Positions of good records, and the bad ones with theirs."""
    if all(body.places is None and not body.bad for body in bodies):
        return np.arange(first, first + sum(body.rows for body in bodies), dtype=np.int64), ()
    starts = first + np.cumsum([0, *(body.rows for body in bodies)])
    positions = [body.places_of_records() + start for body, start in zip(bodies, starts, strict=False)]
    bad = [
        replace(record, position=int(start) + record.position)
        for body, start in zip(bodies, starts, strict=False)
        for record in body.bad
    ]
    return np.concatenate(positions), tuple(bad)


Compression = Literal["gzip", "zstd"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
_PIECE_BYTES = 1 << 20


def decompressed(data: bytes, compression: Compression, *, limit: int) -> bytes:
    """The decoded bytes.

    Raises:
        TooManyBytesError: there are more than `limit`; no more than that has been decoded.
        BadFileError: `bad_compression`, the data is damaged, cut off or something else.
    """
    pieces, size = [], 0
    try:
        with pa.CompressedInputStream(cast("Any", pa.BufferReader(data)), compression) as stream:
            while piece := stream.read(_PIECE_BYTES):
                size += len(piece)
                if size > limit:
                    raise TooManyBytesError
                pieces.append(piece)
    except (OSError, pa.ArrowException):
        raise BadFileError("bad_compression", f"the body is not valid {compression}: it is damaged or cut off") from None
    return b"".join(pieces)
