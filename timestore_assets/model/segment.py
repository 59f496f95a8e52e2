"""A segment: an immutable data file that holds rows of one partition, and where it is: a name in a storage target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

DEFAULT_TARGET = "default"
"""The storage target that `TIMESTORE_STORAGE_DRIVER` and its neighbours describe."""


class ObjectName(NamedTuple):
    """An object that the catalog knows, or knew. `storage`: name of its target. `name`: path inside it, `/`-separated."""

    storage: str
    name: str


class Placed(Protocol):
    """Whatever is stored as one object: a segment, a file of dead letters."""

    @property
    def storage(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...


def object_size(placed: Placed) -> int:
    """Bytes of the whole object, of which a segment may have only some rows."""
    whole = placed.object_bytes if isinstance(placed, NewSegment) else None
    return placed.bytes if whole is None else whole


SegmentFormat = Literal["parquet", "duckdb", "memory"]
"""`memory`: rows that a query reads before they are landed (`segments.reader`); no segment of the catalog is of it."""
SegmentKind = Literal["delta", "sealed"]
TABLE_IN_DUCKDB = "segment"
"""Name of the table inside a `.duckdb` segment. Beside it stands a view, named as the dataset, without the hidden columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnStats:
    """Smallest and largest non-null value, as JSON-able scalars, and the number of nulls of a column in a segment.

    `min`/`max` are None when unknown (then nothing may be pruned by them) or when all values are null. Timestamps and dates
    are ISO text without zone (UTC); strings longer than 64 characters are left unknown; floats with NaN too; decimals are text.
    """

    min: Any = None
    max: Any = None
    nulls: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSegment:
    """A segment whose file is durable and whose catalog row is about to be committed.

    `name`: object name in the storage target `storage`. `semantic_key`: value texts of the dataset's `partition_by` columns,
    None for deltas, which may hold several keys. `level`: merge tier, 0 as landed. `sorted_by`: columns the rows are sorted by.
    `source_ids`: source partitions that rows came from (for retraction); `deduplicated`: no two rows share the dedupe keys.
    `sha256`: digest of the file's bytes in hex, on its way to the catalog, whose `digests` gives it back: planning needs none.

    Small deltas of one commit share an object: `first_row` is where the segment's rows begin there, of which there are `rows` one
    after the other, and `object_bytes` is how large the object is; `bytes` is then the segment's share. Both are None where the
    object is the segment's alone.
    """

    name: str
    partition_start: datetime
    kind: SegmentKind
    format: SegmentFormat
    rows: int
    bytes: int
    min_time: datetime
    max_time: datetime
    schema_version: int
    storage: str = DEFAULT_TARGET
    semantic_key: tuple[str, ...] | None = None
    level: int = 0
    sorted_by: tuple[str, ...] = ()
    deduplicated: bool = False
    source_ids: tuple[int, ...] = ()
    stats: Mapping[str, ColumnStats] = field(default_factory=dict)
    content_hash: str | None = None
    sha256: str | None = None
    first_row: int | None = None
    object_bytes: int | None = None

    @property
    def is_shared(self) -> bool:
        """Whether its object holds rows of other partitions too."""
        return self.first_row is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment(NewSegment):
    """A segment the catalog knows. `added_version`: None while it waits for its replacement to be complete."""

    id: int
    dataset_id: int
    added_version: int | None = None
    removed_version: int | None = None
