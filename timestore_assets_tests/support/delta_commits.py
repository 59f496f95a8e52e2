"""Rows committed as deltas by the catalog's own commit, without a landing session: for tests of what comes behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import LandingCommit, Span
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.position import Position
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.types import quote
from timestore_assets.model.window import Partition
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.writer import WrittenFile, write_parquet
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.catalog_dataset import progress

TTL = timedelta(minutes=1)
Row = tuple[Any, ...]
"""Values in the order of the schema's columns; times are naive UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _DeltaFile:
    partition: Partition
    file: WrittenFile
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaCommits:
    """Each method commits one delta a partition, from a source partition, and returns that one's id."""

    catalog: Catalog
    store: LocalStore
    limits: EngineLimits
    dataset: Dataset

    def rows(
        self, rows: Sequence[Row], schema: Schema, *, source: str | None = None, retract: Sequence[int] = (), first: int = 0
    ) -> int:
        """`schema`: what the rows are written under; a newer one than the catalog's becomes the dataset's. `source`: its name.

        `first`: position of the first row.
        """
        return self._commit(lambda part, session: self._files(rows, schema, part, session, first), schema, source, retract)

    def query(self, query: str) -> int:
        """The rows of a DuckDB query, visible columns in order, all of one partition."""

        def written(part: int, session: int) -> list[_DeltaFile]:
            hidden = f"{part}::BIGINT AS __source, row_number() OVER () AS __position, {session}::BIGINT AS __session"
            path, time = self._path(), quote(self.dataset.time)
            with connect(self.limits) as con:
                file = write_parquet(con, f"SELECT *, {hidden} FROM ({query})", path)
                ((first, last),) = con.execute(f"SELECT min({time}), max({time}) FROM read_parquet('{path}')").fetchall()
            return [self._file(file, [first, last])]

        return self._commit(written, self.dataset.schema, None, ())

    def _commit(
        self, write: Callable[[int, int], list[_DeltaFile]], schema: Schema, source: str | None, retract: Sequence[int]
    ) -> int:
        record = self.catalog.datasets.register(self.dataset, actor="test")
        newer = schema if schema.version > record.schema.version else None
        kind = self.catalog.sources.ensure(record.id, "files", "inbox")
        part = self.catalog.sources.partition(kind.id, source or token_hex(8))
        session = self.catalog.sessions.begin(record.id, "land", holder="test", ttl=TTL)
        files = write(part.id, session)
        segments = [self._segment(delta, schema, part.id) for delta in files]
        self.catalog.sessions.announce(session, [segment.name for segment in segments])
        self.store.promote([Upload(staged=d.file.path, name=s.name) for d, s in zip(files, segments, strict=True)])
        rows = sum(segment.rows for segment in segments)
        span = Span(source_partition_id=part.id, start=part.position, end=Position(offset=part.position.offset + rows))
        self.catalog.commits.land(
            LandingCommit(
                dataset_id=record.id,
                session_id=session,
                source_id=kind.id,
                progress=progress(self.catalog, part, span, retract=retract),
                counters=Counters(read=rows, landed=rows),
                segments=tuple(segments),
                schema=newer,
                base_schema_version=record.schema.version if newer else None,
            )
        )
        self.catalog.sessions.end(session)
        return part.id

    def _files(self, rows: Sequence[Row], schema: Schema, part: int, session: int, first: int) -> list[_DeltaFile]:
        by_partition: dict[Partition, list[Row]] = {}
        time = schema.names.index(self.dataset.time)
        for position, row in enumerate(rows, start=first):
            partition = self.dataset.window.partition(row[time].replace(tzinfo=UTC))
            by_partition.setdefault(partition, []).append((*row, part, position, session))
        with connect(self.limits) as con:
            return [
                self._file(_write_rows(con, together, schema, self._path()), [row[time] for row in together])
                for together in by_partition.values()
            ]

    def _file(self, file: WrittenFile, times: Sequence[datetime]) -> _DeltaFile:
        first, last = min(times).replace(tzinfo=UTC), max(times).replace(tzinfo=UTC)
        return _DeltaFile(partition=self.dataset.window.partition(first), file=file, first=first, last=last)

    def _segment(self, delta: _DeltaFile, schema: Schema, part: int) -> NewSegment:
        return NewSegment(
            name=f"{self.dataset.name}/{delta.partition.path_name}/delta-{part}-{token_hex(4)}.parquet",
            partition_start=delta.partition.start,
            kind="delta",
            format="parquet",
            rows=delta.file.rows,
            bytes=delta.file.bytes,
            min_time=delta.first,
            max_time=delta.last,
            schema_version=schema.version,
            source_ids=(part,),
            stats=delta.file.stats,
        )

    def _path(self) -> Path:
        return self.store.staging("test") / "rows.parquet"


def _write_rows(con: Any, rows: Sequence[Row], schema: Schema, path: Path) -> WrittenFile:
    hidden = [f"{name} BIGINT" for name in PROVENANCE_COLUMNS]
    columns = ", ".join([*(f"{quote(column.name)} {column.stored_type}" for column in schema), *hidden])
    con.execute(f"CREATE OR REPLACE TEMP TABLE landing ({columns})")
    arrays = [pa.array(values) for values in zip(*rows, strict=True)]
    con.register("arrived", pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))]))
    con.execute("INSERT INTO landing FROM arrived")
    con.unregister("arrived")
    return write_parquet(con, "SELECT * FROM landing", path)
