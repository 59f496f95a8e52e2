"""A dataset whose catalog rows and files belong together, made by hand so that upkeep is tested on its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.segment import NewSegment, SegmentFormat
from timestore_assets.segments.content_hash import hash_sql
from timestore_assets.segments.engine import EngineLimits, one_row
from timestore_assets.segments.writer import write_duckdb, write_parquet
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.catalog_dataset import START, WEATHER, CatalogDataset, day
from timestore_assets_tests.support.segment_store import SegmentStore

SCHEMA = WEATHER.schema


class UpkeepWarehouse:
    """Lands and builds real files. `day`s are numbered as in `catalog_ground`."""

    def __init__(self, catalog: Catalog, storage: SegmentStore) -> None:
        self.ground = CatalogDataset.of(catalog)
        self.catalog, self.written, self.store = catalog, storage, storage.store
        self.storage = storage.storage
        self.limits = EngineLimits(memory_bytes=200_000_000, threads=1, temp_dir=storage.root.parent / "spill")

    def rows(self, number: int, count: int, *, seed: int = 0) -> str:
        first = START + timedelta(days=number)
        return (
            f"SELECT TIMESTAMP '{first:%Y-%m-%d %H:%M:%S}' + to_minutes(i) AS time, 'JFK' AS origin,"
            f" (i + {seed})::DOUBLE AS temp, 1::BIGINT AS __source, i::BIGINT AS __position, 1::BIGINT AS __session"
            f" FROM range({count}) r(i)"
        )

    def write(self, name: str, query: str, *, format: SegmentFormat = "parquet") -> dict[str, Any]:
        """Put a file in the store; returns the fields of its segment that follow from it."""
        path = self.store.staging("test") / f"file.{format}"
        con = self.written.con
        if format == "parquet":
            written = write_parquet(con, query, path)
        else:
            written = write_duckdb(con, query, path, view="weather", visible=SCHEMA.names)
        self.store.promote([Upload(staged=path, name=name)])
        times = written.stats["time"]
        return {
            "rows": written.rows,
            "bytes": written.bytes,
            "format": format,
            "stats": {column: stats for column, stats in written.stats.items() if column in SCHEMA.names},
            "min_time": datetime.fromisoformat(f"{times.min}+00:00"),
            "max_time": datetime.fromisoformat(f"{times.max}+00:00"),
        }

    def segment(self, number: int, count: int, *, seed: int = 0, format: SegmentFormat = "parquet", **changes: Any) -> NewSegment:
        """An announced segment with its file."""
        segment = self.ground.segment(number)
        return replace(segment, **(self.write(segment.name, self.rows(number, count, seed=seed), format=format) | changes))

    def land(self, number: int = 0, count: int = 10, *, seed: int = 0) -> NewSegment:
        segment = self.segment(number, count, seed=seed)
        self.ground.land(f"{number}-{seed}", segment)
        return segment

    def seal(self, number: int = 0, *, format: SegmentFormat = "parquet") -> NewSegment:
        """Replace a day's segments by a sealed one of the same rows."""
        members = [segment for segment in self.ground.live() if segment.partition_start == day(number).start]
        paths = [str(self.store.local_path(segment.name)) for segment in members]
        query = f"SELECT * FROM read_parquet({paths}) ORDER BY time"
        digest = str(one_row(self.written.con, hash_sql(SCHEMA, f"({query})"))[0])
        sealed = self.ground.segment(number, kind="sealed")
        sealed = replace(sealed, **self.write(sealed.name, query, format=format))
        self.ground.build(number, members, sealed, content_hash=digest)
        return sealed

    def names(self) -> list[str]:
        return [found.name for found in self.store.list()]

    def damage(self, name: str, content: bytes | None) -> None:
        """Overwrite a file behind everyone's back, or remove it."""
        path = self.store.local_path(name)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
