"""An answer: Arrow batches that are computed while they are read, and the claim that keeps their files in place.

It says how far the dataset is complete, by what the catalog knows of the topics that feed it. Rows that are not landed yet may
be merged in, beside the segments of the version that the query pins, each of them once; the answer says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import pyarrow as pa

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import SourceRecord, TopicPartition
from timestore_assets.segments.reader import InMemorySegment

BufferState = Literal["ready", "starting", "full", "unavailable", "off"]
"""ready: everything produced until a moment ago is in the answer · starting: tailing has just begun and is behind · full: more
waits to be landed than may be kept, what is in the answer ends before it · unavailable: the brokers are away · off: not tailed,
or not for such a question (an older version, a page)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streaming:
    """What rows that are not landed yet had to do with an answer."""

    buffer_state: BufferState
    #: How many rows in range came from the buffer (before filters and deduplication).
    merged_rows: int
    #: No more records are expected before it.
    watermark: datetime | None
    #: Whether the answer has all that had been produced a moment before.
    fresh: bool
    #: Why not.
    warning: str = ""


OFF = Streaming(buffer_state="off", merged_rows=0, watermark=None, fresh=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshRows:
    """`segments`: deltas in memory, by partition. `streaming`: what the answer says about them."""

    segments: tuple[InMemorySegment, ...] = ()
    streaming: Streaming = OFF


class UnlandedRows(Protocol):
    """What had been read of a dataset's topics at one moment, which was before the version of the answer is pinned.

    In that order nothing is missing and nothing is there twice: a record that was read and landed before the pin lies below
    the pinned checkpoint, one that lands after it does not, and what was let go of as landed was so before this moment.
    """

    def beyond(self, topics: Sequence[TopicPartition], *, start: datetime | None, end: datetime | None) -> FreshRows:
        """The rows of `[start, end)` from these checkpoints on, which must be newer than this moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCompleteness:
    """One partition of a topic."""

    source: str
    source_partition: str
    #: Offset up to which it has landed.
    position: int
    #: Newest event time landed from it.
    newest: datetime | None
    #: Of its source: no more records are expected before it; None while that is unknown.
    watermark: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """`complete_through`: nothing more is expected before it, from any topic; None while that is unknown for one of them, and for
    a dataset without topics, because nobody says when a file or a request is the last.
    """

    complete_through: datetime | None = None
    sources: tuple[SourceCompleteness, ...] = ()


UNKNOWN = Completeness()


def completeness(catalog: Catalog, dataset_id: int) -> Completeness:
    """How far the dataset is complete now; a manifest version that is pinned afterwards holds at least as much."""
    topics = [source for source in catalog.sources.of(dataset_id) if source.reads_topics]
    watermarks = [source.watermark for source in topics if source.watermark is not None]
    known = bool(topics) and len(watermarks) == len(topics)
    return Completeness(
        complete_through=min(watermarks) if known else None,
        sources=tuple(_partition(source, one) for source in topics for one in catalog.topics.partitions(source.id)),
    )


def _partition(source: SourceRecord, found: TopicPartition) -> SourceCompleteness:
    return SourceCompleteness(
        source=f"kafka:{source.address}",
        source_partition=f"{found.topic}/{found.number}",
        position=found.position,
        newest=found.newest,
        watermark=source.watermark,
    )


@dataclass(slots=True)
class ReadSegments:
    """How many segments have been opened so far: of an answer with a limit often fewer than it could have come to."""

    number: int = 0


def nothing() -> None:
    """What is done where there is nothing to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerDetails:
    """What is known of an answer before its first row."""

    manifest_versions: Mapping[str, int]
    """By dataset."""
    scanned: int
    """Segments that are read."""
    pruned: int
    """Live segments that need not be."""
    series: tuple[str, ...] | None = None
    """For buckets of time, the columns that name a row (first the time, then the groups); None for anything else."""
    streaming: Streaming | None = None
    """What was merged in before it landed, None where nothing could be."""
    warnings: Sequence[str] = ()
    """What a reader should know of it."""
    cached: bool = False
    """Whether it was computed for somebody before, from the same versions."""


class Answer:
    """The result of a question, read once. Use it as a context manager, or close it.

    `schema`: Arrow; timestamps are `timestamp[us, tz=UTC]`, a field's metadata has `unit` and `description` where declared.
    The other attributes are those of its facts; with a limit `scanned` is the most that it can come to, and `segments_read` says
    how many it has been so far.
    """

    def __init__(
        self,
        *,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        facts: AnswerDetails,
        close: Callable[[], None],
        read: ReadSegments | None = None,
        interrupt: Callable[[], None] = nothing,
    ) -> None:
        self.schema = schema
        self.manifest_versions = dict(facts.manifest_versions)
        self.scanned, self.pruned = facts.scanned, facts.pruned
        self.series, self.streaming, self.warnings = facts.series, facts.streaming, tuple(facts.warnings)
        self.cached = facts.cached
        self._batches, self._close = batches, close
        self._interrupt, self._lock = interrupt, threading.Lock()
        self._read = read

    @property
    def segments_read(self) -> int:
        """Segments that have been opened; for an answer that reads all at once those that are."""
        return self.scanned if self._read is None else self._read.number

    @property
    def manifest_version(self) -> int | None:
        """The version the answer is from; None when it is about no dataset or about several."""
        versions = list(self.manifest_versions.values())
        return versions[0] if len(versions) == 1 else None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of bounded size. What was read is gone; the answer closes itself after the last one.

        Raises:
            InputError: a value could not be computed as asked. UnavailableError: memory or a file is missing.
        """
        yield from self._batches
        self.close()

    def table(self) -> pa.Table:
        """All (remaining) rows in memory."""
        return pa.Table.from_batches(self.batches(), schema=self.schema)

    def close(self) -> None:
        """Release the files and the claim on the manifest version; closing twice is fine."""
        with self._lock:
            close, self._close = self._close, nothing
            self._interrupt = nothing
        close()

    def interrupt(self) -> None:
        """Stop what computes the next batch in another thread; `batches` raises there. Nothing once the answer is closed."""
        with self._lock:
            self._interrupt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def in_utc(kind: pa.DataType) -> pa.DataType:
    """An Arrow type with DuckDB's zoneless timestamps said to be UTC, which they are, at any depth."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, tz="UTC")
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(in_utc(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(in_utc(field.type)) for field in kind])
    return pa.string() if pa.types.is_null(kind) else kind


def typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch under the answer's schema; only types and metadata change, no value does."""
    columns = [retyped(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def retyped(column: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
    """The same values as another type. Times that only gain or lose their zone, UTC, stay the counts that they are: a cast would
    import all of Arrow's functions, a tenth of the time in which a short question is answered.
    """
    if column.type == kind:
        return column
    if pa.types.is_timestamp(column.type) and pa.types.is_timestamp(kind) and column.type.unit == kind.unit:
        return column.view(kind)
    return column.cast(kind)
