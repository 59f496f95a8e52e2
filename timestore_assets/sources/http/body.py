"""What a request's body brings: its records, cut but not yet judged."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from timestore_assets.sources.port import BadRecord, Encoding, RawRows

if TYPE_CHECKING:
    import pyarrow as pa


class TooManyBytesError(Exception):
    """A body is larger, once it is decoded, than it may be."""


class TooManyRowsError(Exception):
    """A body holds more records than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The records of one request.

    `encoding`, `records`, `raw`: as in `port.Batch`. `shape`: bodies of equal shape can be one batch. `places`: which record of
    the request each of `records` is, counted from 0; None: all of them, in order. `bad`: the others; their positions are places.
    `size`: bytes of the decoded body. `columns`: names in its header, None without one. `digest`: gives the digest of its
    records, as an archived envelope of them would have it. `variant`: what else the request says that changes them.
    """

    encoding: Encoding
    shape: Hashable
    records: pa.Table
    raw: RawRows
    size: int
    digest: Callable[[], str]
    places: npt.NDArray[np.int64] | None = None
    bad: tuple[BadRecord, ...] = ()
    columns: tuple[str, ...] | None = None
    variant: str = ""

    @property
    def rows(self) -> int:
        """How many records the request brings."""
        return int(self.records.num_rows) + len(self.bad)

    def places_of_records(self) -> npt.NDArray[np.int64]:
        """The place in the request of each of `records`."""
        return np.arange(self.records.num_rows, dtype=np.int64) if self.places is None else self.places


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`bytes`: of a decoded body. `rows`: of one request. `record_bytes`: longer records are refused one by one."""

    bytes: int
    rows: int
    record_bytes: int
