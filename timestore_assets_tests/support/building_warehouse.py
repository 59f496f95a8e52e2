"""A catalog, a store and a small dataset to build in. Deltas come by the catalog's own commit, not by a landing session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from timestore_assets.building.builder import Builder
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import PartitionRecord
from timestore_assets.model.dataset import Dataset, Dedupe
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE, INT64, STRING, TIMESTAMP, quote
from timestore_assets.model.window import Partition, Window
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.segments.quick_hash import quick_hash
from timestore_assets.segments.reader import opened
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets_tests.support.delta_commits import DeltaCommits, Row

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


@dataclass(frozen=True, kw_only=True)
class BuildingWarehouse:
    catalog: Catalog
    store: LocalStore
    limits: EngineLimits
    dataset: Dataset

    @property
    def storage(self) -> Storage:
        """The store as the only target."""
        return Storage.of(self.store)

    @property
    def context(self) -> WriteContext:
        """Of whoever writes to it."""
        return WriteContext(catalog=self.catalog, storage=self.storage, limits=self.limits, holder="test")

    @property
    def dataset_id(self) -> int:
        return self.catalog.datasets.register(self.dataset, actor="test").id

    def builder(self, **options: Any) -> Builder:
        return Builder(self.context, **options)

    def land(
        self,
        rows: Sequence[Row],
        *,
        source: str | None = None,
        retract: Sequence[int] = (),
        schema: Schema | None = None,
        first: int = 0,
    ) -> int:
        """Commit rows as one delta a partition, from a source partition of their own, at `first` and on; returns its id."""
        return self._deltas.rows(rows, schema or self.dataset.schema, source=source, retract=retract, first=first)

    def land_query(self, query: str) -> int:
        """Commit the rows of one partition, whose visible columns a DuckDB query gives, as one delta."""
        return self._deltas.query(query)

    @property
    def _deltas(self) -> DeltaCommits:
        return DeltaCommits(catalog=self.catalog, store=self.store, limits=self.limits, dataset=self.dataset)

    def partition(self, day: int = 1) -> Partition:
        return Window.DAY.partition(DAY + timedelta(days=day - 1))

    def known(self, day: int = 1) -> PartitionRecord:
        found = self.catalog.partitions.find(self.dataset_id, self.partition(day))
        assert found is not None
        return found

    def rows(self, day: int = 1) -> list[Row]:
        """Visible rows of a partition as its segments hold them, unbuilt duplicates included, sorted."""
        return self.rows_of(self.partition(day))

    def rows_of(self, partition: Partition) -> list[Row]:
        """The same of any partition."""
        with connect(self.limits) as con, self._opened(con, partition) as source:
            names = ", ".join(quote(name) for name in self._schema.names)
            return con.execute(f"SELECT {names} FROM {source} ORDER BY ALL").fetchall()

    def content_hash(self, day: int = 1) -> str:
        with connect(self.limits) as con, self._opened(con, self.partition(day)) as source:
            return quick_hash(con, self._schema, source)

    @property
    def _schema(self) -> Schema:
        return self.catalog.datasets.register(self.dataset, actor="test").schema

    @contextmanager
    def _opened(self, con: Any, partition: Partition) -> Iterator[str]:
        segments = self.catalog.manifest.segments(self.dataset_id, partition=partition)
        retracted = self.catalog.manifest.retracted(self.dataset_id)
        with opened(
            con,
            segments,
            storage=self.storage,
            schema=self._schema,
            schema_of=lambda version: self.catalog.datasets.schema(self.dataset_id, version),
            retracted=retracted,
            stored=True,
        ) as source:
            yield source


def building_warehouse_in(folder: Path, dataset: Dataset = READINGS, **limits: Any) -> BuildingWarehouse:
    """A ground in a folder; the same one again when it exists. The caller closes its catalog."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    plain: Mapping[str, Any] = {"memory_bytes": 500_000_000, "threads": 2, "temp_dir": folder / "tmp"}
    return BuildingWarehouse(
        catalog=Catalog.open(f"sqlite:///{folder / 'catalog.sqlite'}"),
        store=LocalStore(folder / "data", staging_root=folder / "data" / ".staging"),
        limits=EngineLimits(**{**plain, **limits}),
        dataset=dataset,
    )


def reading(device: str, minute: float, value: float | None = 1.0, rev: int = 1, *, day: int = 1) -> Row:
    return (device, (DAY + timedelta(days=day - 1, minutes=minute)).replace(tzinfo=None), value, rev)
