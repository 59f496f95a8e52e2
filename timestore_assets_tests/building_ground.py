"""A catalog, a store and a small dataset to build in. Deltas come by the catalog's own commit, not by a landing session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa

from timestore_assets.building.session import Builder
from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Counters, LandingCommit, PartitionRecord, Span
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.model.content_hash import hash_sql
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.position import Position
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP, quote
from timestore_assets.model.window import Partition, Window
from timestore_assets.storage.engine import EngineLimits, connect
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.port import Upload
from timestore_assets.storage.reading import opened
from timestore_assets.storage.segments import WrittenFile, write_parquet
from timestore_assets.storage.targets import Storage

DAY = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = (
    Column(name="device", type=STRING),
    Column(name="ts", type=TIMESTAMP),
    Column(name="value", type=DOUBLE, nullable=True),
    Column(name="rev", type=INT64),
)
READINGS = Dataset(
    name="readings",
    schema=Schema(columns=COLUMNS),
    time="ts",
    start=DAY,
    partition_by=("device",),
    dedupe=Dedupe(keys=("device", "ts"), keep="last", by="rev"),
)
TTL = timedelta(minutes=1)
Row = tuple[Any, ...]
"""Values in the order of the schema's columns; times are naive UTC."""
Write = Callable[[int, int], tuple[list[NewSegment], list[Upload]]]
"""From the ids of source partition and session to staged files."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    catalog: Catalog
    store: LocalStore
    limits: EngineLimits
    dataset: Dataset

    @property
    def storage(self) -> Storage:
        """The store as the only target."""
        return Storage.of(self.store)

    @property
    def dataset_id(self) -> int:
        return self.catalog.register(self.dataset, actor="test").id

    def builder(self, **options: Any) -> Builder:
        return Builder(self.catalog, self.storage, self.limits, holder="test", **options)

    def land(
        self, rows: Sequence[Row], *, source: str | None = None, retract: Sequence[int] = (), schema: Schema | None = None
    ) -> int:
        """Commit rows as one delta a partition, from a source partition of their own; returns its id."""
        written = schema or self.dataset.schema
        return self._commit(lambda part, session: self._deltas(rows, written, part, session), len(rows), source, retract)

    def land_query(self, query: str, *, rows: int, first: datetime, last: datetime) -> int:
        """Commit so many rows of one partition, whose visible columns a DuckDB query gives, as one delta."""

        def written(part: int, session: int) -> tuple[list[NewSegment], list[Upload]]:
            hidden = f"{part}::BIGINT AS __source, row_number() OVER () AS __position, {session}::BIGINT AS __session"
            with connect(self.limits) as con:
                file = write_parquet(con, f"SELECT *, {hidden} FROM ({query})", self.store.staging("test") / "generated")
            return self._segments([(self.dataset.window.partition(first), file, first, last)], self.dataset.schema, part)

        return self._commit(written, rows, None, ())

    def _commit(self, write: Write, rows: int, source: str | None, retract: Sequence[int]) -> int:
        record = self.catalog.register(self.dataset, actor="test")
        kind = self.catalog.source(record.id, "files", "inbox")
        part = self.catalog.source_partition(kind.id, source or token_hex(8))
        session = self.catalog.begin_session(record.id, "land", holder="test", ttl=TTL)
        segments, uploads = write(part.id, session)
        names = [segment.name for segment in segments]
        self.catalog.announce(session, names)
        self.store.promote(uploads)
        self.catalog.commit_landing(
            LandingCommit(
                dataset_id=record.id,
                session_id=session,
                source_id=kind.id,
                spans=(Span(source_partition_id=part.id, start=part.position, end=Position(offset=part.position.offset + rows)),),
                counters=Counters(read=rows, landed=rows),
                segments=tuple(segments),
                intents=tuple(names),
                retract=tuple(retract),
            )
        )
        self.catalog.end_session(session)
        return part.id

    def _deltas(self, rows: Sequence[Row], schema: Schema, source: int, session: int) -> tuple[list[NewSegment], list[Upload]]:
        by_partition: dict[Partition, list[Row]] = {}
        place = schema.names.index(self.dataset.time)
        for position, row in enumerate(rows):
            partition = self.dataset.window.partition(row[place].replace(tzinfo=UTC))
            by_partition.setdefault(partition, []).append((*row, source, position, session))
        folder = self.store.staging("test")
        files = []
        with connect(self.limits) as con:
            for partition, held in by_partition.items():
                times = [row[place].replace(tzinfo=UTC) for row in held]
                files.append((partition, write_rows(con, held, schema, folder / token_hex(8)), min(times), max(times)))
        return self._segments(files, schema, source)

    def _segments(
        self, files: Sequence[tuple[Partition, WrittenFile, datetime, datetime]], schema: Schema, source: int
    ) -> tuple[list[NewSegment], list[Upload]]:
        segments, uploads = [], []
        for partition, file, first, last in files:
            name = f"{self.dataset.name}/{partition.path_name}/delta-{source}-{token_hex(4)}.parquet"
            uploads.append(Upload(staged=file.path, name=name))
            segments.append(
                NewSegment(
                    name=name,
                    partition_start=partition.start,
                    kind="delta",
                    format="parquet",
                    rows=file.rows,
                    bytes=file.bytes,
                    min_time=first,
                    max_time=last,
                    schema_version=schema.version,
                    source_ids=(source,),
                    stats=file.stats,
                )
            )
        return segments, uploads

    def partition(self, day: int = 1) -> Partition:
        return Window.DAY.partition(DAY + timedelta(days=day - 1))

    def known(self, day: int = 1) -> PartitionRecord:
        found = self.catalog.partition(self.dataset_id, self.partition(day))
        assert found is not None
        return found

    def rows(self, day: int = 1) -> list[Row]:
        """Visible rows of a partition as its segments hold them, unbuilt duplicates included, sorted."""
        with connect(self.limits) as con, self._opened(con, day) as source:
            names = ", ".join(quote(name) for name in self._schema.names)
            return con.execute(f"SELECT {names} FROM {source} ORDER BY ALL").fetchall()

    def content_hash(self, day: int = 1) -> str:
        with connect(self.limits) as con, self._opened(con, day) as source:
            found = con.execute(hash_sql(self._schema, source)).fetchone()
            assert found is not None
            return str(found[0])

    @property
    def _schema(self) -> Schema:
        return self.catalog.register(self.dataset, actor="test").schema

    @contextmanager
    def _opened(self, con: Any, day: int) -> Iterator[str]:
        segments = self.catalog.segments(self.dataset_id, partition=self.partition(day))
        retracted = self.catalog.retracted(self.dataset_id)
        with opened(
            con,
            segments,
            storage=self.storage,
            schema=self._schema,
            schema_of=lambda version: self.catalog.schema(self.dataset_id, version),
            retracted=retracted,
            stored=True,
        ) as source:
            yield source


def write_rows(con: Any, rows: Sequence[Row], schema: Schema, path: Path) -> WrittenFile:
    hidden = [f"{name} BIGINT" for name in PROVENANCE_COLUMNS]
    columns = ", ".join([*(f"{quote(column.name)} {column.stored_type}" for column in schema), *hidden])
    con.execute(f"CREATE OR REPLACE TEMP TABLE landing ({columns})")
    arrays = [pa.array(values) for values in zip(*rows, strict=True)]
    con.register("arrived", pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))]))
    con.execute("INSERT INTO landing FROM arrived")
    con.unregister("arrived")
    return write_parquet(con, "SELECT * FROM landing", path)


def ground_in(folder: Path, dataset: Dataset = READINGS, **limits: Any) -> Ground:
    """A ground in a folder; the same one again when it exists. The caller closes its catalog."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    plain: Mapping[str, Any] = {"memory_bytes": 500_000_000, "threads": 2, "temp_dir": folder / "tmp"}
    return Ground(
        catalog=SqlCatalog.open(f"sqlite:///{folder / 'catalog.sqlite'}"),
        store=LocalStore(folder / "data", staging_root=folder / "data" / ".staging"),
        limits=EngineLimits(**{**plain, **limits}),
        dataset=dataset,
    )


def reading(device: str, minute: float, value: float | None = 1.0, rev: int = 1, *, day: int = 1) -> Row:
    return (device, (DAY + timedelta(days=day - 1, minutes=minute)).replace(tzinfo=None), value, rev)
