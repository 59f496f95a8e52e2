"""What a segment's file really holds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.content_hash import combined, hash_sql
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.storage.engine import one_row
from timestore_assets.storage.port import Readable
from timestore_assets.storage.reading import opened
from timestore_assets.storage.statistics import by_query


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Number of rows of a file and statistics of its visible columns, from their values."""

    rows: int
    stats: Mapping[str, ColumnStats]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentReader:
    """Reads the segments of a dataset one at a time, each in the schema it was written under."""

    con: duckdb.DuckDBPyConnection
    storage: Readable
    catalog: Catalog
    record: DatasetRecord
    _schemas: dict[int, Schema] = field(default_factory=dict)

    @property
    def time_column(self) -> str:
        return str(self.record.definition["time"])

    def facts(self, segment: Segment) -> Facts:
        """Rows and statistics of a segment, every visible value of it having been read."""
        types = {column.name: column.stored_type for column in self._schema(segment.schema_version)}
        with self._rows(segment) as source:
            rows, stats = by_query(self.con, source, types)
        return Facts(rows=rows, stats=stats)

    def content_hash(self, segments: list[Segment]) -> str:
        """The content hash of all rows of segments.

        Rows retracted since they were sealed are still in the files, and in the hash that the catalog has of them.
        """
        return combined(self._hash(segment) for segment in segments)

    def _hash(self, segment: Segment) -> str:
        with self._rows(segment) as source:
            return str(one_row(self.con, hash_sql(self._schema(segment.schema_version), source))[0])

    def _rows(self, segment: Segment) -> AbstractContextManager[str]:
        schema = self._schema(segment.schema_version)
        return opened(self.con, [segment], storage=self.storage, schema=schema, schema_of=self._schema, stored=True)

    def _schema(self, version: int) -> Schema:
        if version not in self._schemas:
            self._schemas[version] = self.catalog.schema(self.record.id, version)
        return self._schemas[version]
