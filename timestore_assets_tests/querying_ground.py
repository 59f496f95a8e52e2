"""A dataset to ask questions of, landed through the catalog's own commit, and the same rows in a plain table to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa

from timestore_assets.building.session import Builder
from timestore_assets.catalog.records import Counters, DatasetRecord, LandingCommit, Span
from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.objects import DEFAULT_TARGET
from timestore_assets.model.position import Position
from timestore_assets.model.schema import PROVENANCE_COLUMNS, Column, Schema
from timestore_assets.model.segment import NewSegment
from timestore_assets.model.types import duckdb_type, parse_type, quote
from timestore_assets.model.window import Partition
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.execute import Querier
from timestore_assets.querying.question import Question
from timestore_assets.storage.engine import EngineLimits, connect
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.port import Upload
from timestore_assets.storage.segments import WrittenFile, write_parquet
from timestore_assets.storage.targets import Storage

DAY = datetime(2024, 1, 1, tzinfo=UTC)
TTL = timedelta(minutes=1)
TYPES = {
    "device": "string",
    "ts": "timestamp",
    "value": "double",
    "n": "int64",
    "amount": "decimal(12,2)",
    "flag": "bool",
    "date": "date",
    "note": "string",
    "rev": "int64",
}
UNITS = {"value": "degC", "n": "1"}


def column(name: str, kind: str, **options: Any) -> Column:
    return Column(
        name=name, type=parse_type(kind), nullable=name not in ("device", "ts", "rev"), unit=UNITS.get(name, ""), **options
    )


SCHEMA = Schema(columns=tuple(column(name, kind) for name, kind in TYPES.items()))
METER = Dataset(
    name="meter",
    schema=SCHEMA,
    time="ts",
    start=DAY,
    partition_by=("device",),
    dedupe=Dedupe(keys=("device", "ts"), keep="last", by="rev"),
)
PLAIN = replace(METER, name="plain", dedupe=None, partition_by=())
EXTRA = {version: column("extra", kind, origin="inferred") for version, kind in ((2, "int64"), (3, "double"))}
"""The column that evolution finds: integers first, then fractions."""

Row = Mapping[str, Any]


def row(device: str, minute: float, *, day: int = 1, **values: Any) -> dict[str, Any]:
    """A row at a minute of a day; columns that are not given are null, `rev` is 1."""
    time = (DAY + timedelta(days=day - 1, minutes=minute)).replace(tzinfo=None)
    return {"device": device, "ts": time, "rev": 1, **values}


@dataclass(kw_only=True, repr=False)
class Ground:
    """`logical`: rows as they were landed, in order of arrival, with the values that a reader should see."""

    folder: Path
    catalog: SqlCatalog
    store: LocalStore
    limits: EngineLimits
    dataset: Dataset
    querier: Querier
    logical: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def storage(self) -> Storage:
        """The store as the only target."""
        return Storage.of(self.store)

    @property
    def record(self) -> DatasetRecord:
        return self.catalog.register(self.dataset, actor="test")

    def ask(self, **question: Any) -> Answer:
        return self.querier.ask(self.dataset, self.record, Question(dataset=self.dataset.name, **question))

    def rows(self, **question: Any) -> list[dict[str, Any]]:
        with self.ask(**question) as answer:
            return answer.table().to_pylist()

    def evolve(self, version: int) -> Schema:
        """The schema at version 1, 2 or 3 (with `extra`)."""
        return replace(self.record.schema.with_columns(EXTRA[version]), version=version) if version > 1 else self.dataset.schema

    def land(self, rows: Sequence[Row], *, version: int = 1, retract: Sequence[int] = ()) -> int:
        """Commit rows as one delta a partition, written under a schema version; returns the source partition's id."""
        schema = self.evolve(version)
        part = self._commit(lambda source, session: self._deltas(rows, schema, source, session), len(rows), schema, retract)
        self.sources[part] = [dict(one) for one in rows]
        for gone in retract:
            self.sources.pop(gone, None)
        self.logical = [one for held in self.sources.values() for one in held]
        return part

    def land_query(self, query: str, *, day: int = 1) -> None:
        """Commit the rows of a query (visible columns in order) as one delta of a day; `logical` does not know of them."""

        def written(source: int, session: int) -> list[NewSegment]:
            hidden = f"{source} AS __source, row_number() OVER () AS __position, {session} AS __session"
            with connect(self.limits) as con:
                path = self.store.staging("test") / "rows.parquet"
                file = write_parquet(con, f"SELECT *, {hidden} FROM ({query})", path)
                ((low, high),) = con.execute(f"SELECT min(ts), max(ts) FROM '{path}'").fetchall()
            return self._published([(self.partition(day), file, low, high)], self.dataset.schema, source, session)

        self._commit(written, 1, self.dataset.schema, ())

    def _commit(self, write: Callable[[int, int], list[NewSegment]], count: int, schema: Schema, retract: Sequence[int]) -> int:
        record = self.record
        newer = schema if schema.version > record.schema.version else None
        kind = self.catalog.source(record.id, "files", "inbox")
        part = self.catalog.source_partition(kind.id, token_hex(8))
        session = self.catalog.begin_session(record.id, "land", holder="test", ttl=TTL)
        segments = write(part.id, session)
        self.catalog.commit_landing(
            LandingCommit(
                dataset_id=record.id,
                session_id=session,
                source_id=kind.id,
                spans=(Span(source_partition_id=part.id, start=part.position, end=Position(offset=count)),),
                counters=Counters(read=count, landed=count),
                segments=tuple(segments),
                intents=tuple(segment.name for segment in segments),
                schema=newer,
                base_schema_version=record.schema.version if newer else None,
                retract=tuple(retract),
            )
        )
        self.catalog.end_session(session)
        return part.id

    def build(self, *days: int, close: bool = True) -> None:
        self.catalog.register(self.dataset, actor="test")
        with Builder(self.catalog, self.storage, self.limits, holder="test") as builder:
            for day in days:
                builder.build(self.dataset, self.partition(day), close=close, actor="test")

    def partition(self, day: int = 1) -> Partition:
        return self.dataset.window.partition(DAY + timedelta(days=day - 1))

    def _deltas(self, rows: Sequence[Row], schema: Schema, source: int, session: int) -> list[NewSegment]:
        by_day: dict[Partition, list[tuple[Any, ...]]] = {}
        for position, one in enumerate(rows):
            stored = tuple(_stored(column, one.get(column.name)) for column in schema)
            partition = self.dataset.window.partition(one[self.dataset.time].replace(tzinfo=UTC))
            by_day.setdefault(partition, []).append((*stored, source, position, session))
        place = schema.names.index(self.dataset.time)
        files = []
        with connect(self.limits) as con:
            for partition, held in by_day.items():
                file = write_rows(con, held, schema, self.store.staging("test") / "rows.parquet")
                times = [one[place] for one in held]
                files.append((partition, file, min(times), max(times)))
        return self._published(files, schema, source, session)

    def _published(
        self, files: Sequence[tuple[Partition, WrittenFile, datetime, datetime]], schema: Schema, source: int, session: int
    ) -> list[NewSegment]:
        segments, uploads = [], []
        for partition, file, low, high in files:
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
                    min_time=low.replace(tzinfo=UTC),
                    max_time=high.replace(tzinfo=UTC),
                    schema_version=schema.version,
                    source_ids=(source,),
                    stats=file.stats,
                )
            )
        self.catalog.announce(session, [upload.name for upload in uploads])
        self.store.promote(uploads)
        return segments

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis would print every field of a failing example's ground."""
        printer.text(f"Ground({self.dataset.name!r})")

    def close(self) -> None:
        self.querier.close()
        self.catalog.close()


def _stored(column: Column, value: Any) -> Any:
    return str(value) if column.origin == "inferred" and value is not None else value


def write_rows(con: Any, rows: Sequence[tuple[Any, ...]], schema: Schema, path: Path) -> WrittenFile:
    hidden = [f"{name} BIGINT" for name in PROVENANCE_COLUMNS]
    columns = ", ".join([*(f"{quote(column.name)} {column.stored_type}" for column in schema), *hidden])
    con.execute(f"CREATE OR REPLACE TEMP TABLE landing ({columns})")
    arrays = [pa.array(values) for values in zip(*rows, strict=True)]
    con.register("arrived", pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))]))
    con.execute("INSERT INTO landing FROM arrived")
    con.unregister("arrived")
    return write_parquet(con, "SELECT * FROM landing", path)


def plain_table(con: Any, name: str, rows: Sequence[Row], schema: Schema) -> None:
    """The rows as an ordinary table: what the warehouse is compared with."""
    columns = ", ".join(f"{quote(column.name)} {duckdb_type(column.type)}" for column in schema)
    con.execute(f"CREATE OR REPLACE TABLE {quote(name)} ({columns})")
    marks = ", ".join("?" for _ in schema)
    if rows:
        con.executemany(
            f"INSERT INTO {quote(name)} VALUES ({marks})", [[one.get(column.name) for column in schema] for one in rows]
        )


def ground_in(
    folder: Path,
    dataset: Dataset = METER,
    *,
    format: str = "auto",
    memory_bytes: int = 500_000_000,
    storage: Storage | None = None,
) -> Ground:
    """A ground in a folder; the caller closes it. `memory_bytes`: what a question may use. `storage`: where segments go."""
    (folder / "spill").mkdir(parents=True, exist_ok=True)
    dataset = replace(dataset, segments=SegmentPolicy(format=format))  # type: ignore[arg-type]
    limits = EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=folder / "spill")
    catalog = SqlCatalog.open(f"sqlite:///{folder / 'catalog.sqlite'}")
    storage = storage or Storage.of(LocalStore(folder / "data", staging_root=folder / "data" / ".staging"))
    store: Any = storage.target(DEFAULT_TARGET)
    querier = Querier(catalog, storage, replace(limits, memory_bytes=memory_bytes), holder="test")
    return Ground(folder=folder, catalog=catalog, store=store, limits=limits, dataset=dataset, querier=querier)


def money(text: str) -> Decimal:
    return Decimal(text)
