"""What a segment's file really holds.

Objects are looked at as their targets hold them now, past every cache: that is what a proof has to look at.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.effective_declaration import renamed
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.hash_sums import combined
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import ColumnStats, ObjectName, Placed, Segment
from timestore_assets.segments.content_hash import hash_sql
from timestore_assets.segments.engine import one_row
from timestore_assets.segments.quick_hash import hashed_like
from timestore_assets.segments.reader import opened
from timestore_assets.segments.statistics import by_query
from timestore_assets.storage.object_store import ObjectReader
from timestore_assets.storage.targets import Storage


class UncachedReader:
    """`object_store.ObjectReader` that fetches each object from its target once, until it is told to forget; for one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fetched: dict[ObjectName, Path] = {}

    @contextmanager
    def reading(self, objects: Sequence[Placed], *, columns: Sequence[str] | None = None) -> Iterator[list[Path]]:
        """See `object_store.ObjectReader`; whole objects, whatever the columns.

        Raises:
            BadFileError: an object is not what was written.
        """
        with ExitStack() as stack:
            yield [self._path(one, stack, columns) for one in objects]

    def forget(self, *, but: Collection[ObjectName] = ()) -> None:
        """Remove what was fetched, apart from some."""
        for name in [one for one in self._fetched if one not in but]:
            shutil.rmtree(self._fetched.pop(name).parent, ignore_errors=True)

    def _path(self, one: Placed, stack: ExitStack, columns: Sequence[str] | None) -> Path:
        if self._storage.path(one) is not None:
            return stack.enter_context(self._storage.reading([one], columns=columns))[0]
        name = ObjectName(one.storage, one.name)
        if name not in self._fetched:
            target = self._storage.target(one.storage)
            folder = target.staging("verify")
            try:
                target.fetch(one.name, folder / Path(one.name).name)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._fetched[name] = folder / Path(one.name).name
        return self._fetched[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFacts:
    """Number of rows of a file and statistics of its visible columns, from their values."""

    rows: int
    stats: Mapping[str, ColumnStats]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReader:
    """Reads the segments of a dataset one at a time, each in the schema it was written under."""

    con: duckdb.DuckDBPyConnection
    storage: ObjectReader
    catalog: Catalog
    record: DatasetRecord
    _schemas: dict[int, Schema] = field(default_factory=dict)

    def time_column(self, segment: Segment) -> str:
        """What the time was called when the segment was written."""
        now = str(self.record.definition["time"])
        return renamed(self.record.schema, self._schema(segment.schema_version)).get(now, now)

    def facts(self, segment: Segment) -> SegmentFacts:
        """Rows and statistics of a segment, every visible value of it having been read."""
        types = {column.name: column.stored_type for column in self._schema(segment.schema_version)}
        with self._rows(segment) as source:
            rows, stats = by_query(self.con, source, types)
        return SegmentFacts(rows=rows, stats=stats)

    def content_hash(self, segments: list[Segment], *, wanted: str) -> str | None:
        """The content hash of all rows of segments, to compare with `wanted`; None where this DuckDB can't make one of its kind.

        Rows retracted since they were sealed are still in the files, and in the hash that the catalog has of them.
        """
        found = []
        for segment in segments:
            with self._rows(segment) as source:
                one = hashed_like(self.con, self._schema(segment.schema_version), source, wanted=wanted)
            if one is None:
                return None
            found.append(one)
        return combined(found)

    def portable_hash(self, segments: list[Segment]) -> str:
        """The content hash of all rows of segments that any engine can compute."""
        return combined(self._portable(segment) for segment in segments)

    def _portable(self, segment: Segment) -> str:
        with self._rows(segment) as source:
            return str(one_row(self.con, hash_sql(self._schema(segment.schema_version), source))[0])

    def _rows(self, segment: Segment) -> AbstractContextManager[str]:
        schema = self._schema(segment.schema_version)
        return opened(self.con, [segment], storage=self.storage, schema=schema, schema_of=self._schema, stored=True)

    def _schema(self, version: int) -> Schema:
        if version not in self._schemas:
            self._schemas[version] = self.catalog.datasets.schema(self.record.id, version)
        return self._schemas[version]
