"""A dataset to ask questions of, landed through the catalog's own commit, and the same rows in a plain table to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset, Dedupe, SegmentPolicy
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.types import duckdb_type, parse_type, quote
from timestore_assets.model.window import Partition
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.segments.engine import EngineLimits
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets_tests.support.delta_commits import DeltaCommits

DAY = datetime(2024, 1, 1, tzinfo=UTC)
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
class QueryWarehouse:
    """`logical`: rows as they were landed, in order of arrival, with the values that a reader should see."""

    folder: Path
    catalog: Catalog
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
        return self.catalog.datasets.register(self.dataset, actor="test")

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
        stored = [tuple(_stored(column, row.get(column.name)) for column in schema) for row in rows]
        part = self._deltas.rows(stored, schema, retract=retract)
        self.sources[part] = [dict(row) for row in rows]
        for gone in retract:
            self.sources.pop(gone, None)
        self.logical = [row for landed in self.sources.values() for row in landed]
        return part

    def land_query(self, query: str) -> None:
        """Commit the rows of a query (visible columns in order) as one delta of a day; `logical` does not know of them."""
        self._deltas.query(query)

    @property
    def _deltas(self) -> DeltaCommits:
        return DeltaCommits(catalog=self.catalog, store=self.store, limits=self.limits, dataset=self.dataset)

    def build(self, *days: int, close: bool = True) -> None:
        self.catalog.datasets.register(self.dataset, actor="test")
        with Builder(WriteContext(catalog=self.catalog, storage=self.storage, limits=self.limits, holder="test")) as builder:
            for day in days:
                builder.build(self.dataset, self.partition(day), close=close, actor="test")

    def partition(self, day: int = 1) -> Partition:
        return self.dataset.window.partition(DAY + timedelta(days=day - 1))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis would print every field of a failing example's ground."""
        printer.text(f"QueryWarehouse({self.dataset.name!r})")

    def close(self) -> None:
        self.querier.close()
        self.catalog.close()


def _stored(column: Column, value: Any) -> Any:
    return str(value) if column.origin == "inferred" and value is not None else value


def plain_table(con: Any, name: str, rows: Sequence[Row], schema: Schema) -> None:
    """The rows as an ordinary table: what the warehouse is compared with."""
    columns = ", ".join(f"{quote(column.name)} {duckdb_type(column.type)}" for column in schema)
    con.execute(f"CREATE OR REPLACE TABLE {quote(name)} ({columns})")
    marks = ", ".join("?" for _ in schema)
    if rows:
        con.executemany(
            f"INSERT INTO {quote(name)} VALUES ({marks})", [[one.get(column.name) for column in schema] for one in rows]
        )


def query_warehouse_in(
    folder: Path,
    dataset: Dataset = METER,
    *,
    format: str = "auto",
    memory_bytes: int = 500_000_000,
    storage: Storage | None = None,
) -> QueryWarehouse:
    """A ground in a folder; the caller closes it. `memory_bytes`: what a question may use. `storage`: where segments go."""
    (folder / "spill").mkdir(parents=True, exist_ok=True)
    dataset = replace(dataset, segments=SegmentPolicy(format=format))
    limits = EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=folder / "spill")
    catalog = Catalog.open(f"sqlite:///{folder / 'catalog.sqlite'}")
    storage = storage or Storage.of(LocalStore(folder / "data", staging_root=folder / "data" / ".staging"))
    store: Any = storage.target(DEFAULT_TARGET)
    querier = Querier(catalog, storage, replace(limits, memory_bytes=memory_bytes), holder="test")
    return QueryWarehouse(folder=folder, catalog=catalog, store=store, limits=limits, dataset=dataset, querier=querier)


def money(text: str) -> Decimal:
    return Decimal(text)
