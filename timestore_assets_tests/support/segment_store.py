"""A store in a folder with segments in it, written and promoted as landing and building do it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import Segment, SegmentFormat
from timestore_assets.model.types import parse_type
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.reader import opened
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.targets import Storage

START = datetime(2024, 1, 1, tzinfo=UTC)
PROVENANCE = "1::BIGINT AS __source, row_number() OVER () AS __position, 1::BIGINT AS __session"


def schema_of(version: int = 1, **kinds: str) -> Schema:
    """A schema of nullable columns; a type that begins with `?` makes an inferred one."""
    columns = [
        Column(
            name=name, type=parse_type(kind.lstrip("?")), nullable=True, origin="inferred" if kind.startswith("?") else "declared"
        )
        for name, kind in kinds.items()
    ]
    return Schema(columns=tuple(columns), version=version)


@dataclass
class SegmentStore:
    """Writes segments from SQL and reads them back."""

    root: Path
    con: duckdb.DuckDBPyConnection
    store: LocalStore
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def storage(self) -> Storage:
        """The store as the only target."""
        return Storage.of(self.store)

    def segment(self, query: str, *, format: SegmentFormat = "parquet", version: int = 1, **changes: Any) -> Segment:
        """A promoted segment of the rows of a query, which has the visible columns; provenance is added unless it has it."""
        number = next(self.numbers)
        if "__source" not in query:
            query = f"SELECT *, {PROVENANCE} FROM ({query})"
        path = self.store.staging("test") / f"file.{format}"
        if format == "parquet":
            written = write_parquet(self.con, query, path)
        else:
            written = write_duckdb(self.con, query, path, view="segment", visible=[])
        name = f"weather/{number}.{format}"
        self.store.promote([Upload(staged=path, name=name)])
        values = {
            "name": name,
            "partition_start": START,
            "kind": "delta",
            "format": format,
            "rows": written.rows,
            "bytes": written.bytes,
            "min_time": START,
            "max_time": START,
            "schema_version": version,
            "source_ids": (1,),
            "stats": written.stats,
            "id": number,
            "dataset_id": 1,
        }
        return Segment(**(values | changes))

    def rows(
        self, segments: list[Segment], schema: Schema, *others: Schema, what: str = "*", **options: Any
    ) -> list[tuple[Any, ...]]:
        """What a query over the opened segments gives."""
        with opened(
            self.con, segments, storage=self.storage, schema=schema, schema_of=_lookup(schema, *others), **options
        ) as source:
            return self.con.execute(f"SELECT {what} FROM {source}").fetchall()


def _lookup(*schemas: Schema) -> Callable[[int], Schema]:
    return {schema.version: schema for schema in schemas}.__getitem__


@contextmanager
def segment_store(folder: Path) -> Iterator[SegmentStore]:
    limits = EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=folder / "spill")
    store = LocalStore(folder / "data", staging_root=folder / "data" / ".staging")
    with connect(limits) as con:
        yield SegmentStore(root=folder / "data", con=con, store=store)
