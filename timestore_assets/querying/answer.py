"""An answer: Arrow batches that are computed while they are read, and the claim that keeps their files in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

import pyarrow as pa

from timestore_assets.querying.streaming import Streaming


def nothing() -> None:
    """What is done where there is nothing to do."""


class Answer:
    """The result of a question, read once. Use it as a context manager, or close it.

    `series`: for buckets of time, the columns that name a row (first the time, then the groups); None for anything else.
    `schema`: Arrow; timestamps are `timestamp[us, tz=UTC]`, a field's metadata has `unit` and `description` where declared.
    `manifest_versions`: by dataset. `scanned`, `pruned`: segments that are read, and live ones that need not be.
    `streaming`: what was merged in before it landed, None where nothing could be.
    """

    def __init__(
        self,
        *,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        close: Callable[[], None],
        manifest_versions: Mapping[str, int],
        scanned: int,
        pruned: int,
        series: tuple[str, ...] | None = None,
        interrupt: Callable[[], None] = nothing,
        streaming: Streaming | None = None,
    ) -> None:
        self.schema = schema
        self.manifest_versions = dict(manifest_versions)
        self.scanned, self.pruned = scanned, pruned
        self.series, self.streaming = series, streaming
        self._batches, self._close = batches, close
        self._interrupt, self._lock = interrupt, threading.Lock()

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
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
