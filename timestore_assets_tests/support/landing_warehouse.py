"""A warehouse on disk to land into: real catalog, store and files, a small dataset, and what became of the records."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.landing.dead_letters.dead_letter_reader import DeadLetter, read_dead_letters
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.landing.files.land_report import FileReport, LandReport
from timestore_assets.landing.files.lander import Lander
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import Window
from timestore_assets.segments.engine import EngineLimits, connect
from timestore_assets.segments.publishing import WriteContext
from timestore_assets.segments.quick_hash import quick_hash
from timestore_assets.segments.reader import opened
from timestore_assets.sources.folders import local_file
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import CollectReport, collect
from timestore_assets_tests.support.catalogs import sqlite_template

NOW = datetime(2013, 6, 1, tzinfo=UTC)
START = datetime(2013, 1, 1, tzinfo=UTC)


def columns(**kinds: str) -> tuple[Column, ...]:
    """Columns from their types; a `?` at the end makes one nullable."""
    return tuple(
        Column(name=name, type=parse_type(kind.rstrip("?")), nullable=kind.endswith("?")) for name, kind in kinds.items()
    )


def dataset(*more: Column, **changes: Any) -> Dataset:
    """Observations of a station: `ts`, `station` and a nullable `temp` between -60 and 140."""
    checked = Column(name="temp", type=parse_type("double"), nullable=True, checks=Checks(ge=-60, le=140))
    schema = Schema(columns=(*columns(ts="timestamp", station="string"), checked, *more))
    basic: dict[str, Any] = {"name": "weather", "schema": schema, "time": "ts", "start": START, "window": Window.DAY}
    return Dataset(**(basic | changes))


@cache
def empty_catalog() -> Path:
    """A catalog without datasets, made once: migrating each anew would take longer than most tests."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return sqlite_template(Path(folder))


@dataclass(kw_only=True)
class LandingWarehouse:
    """One dataset in a warehouse of its own under `root`; files are dropped into `inbox`."""

    root: Path
    catalog: Catalog
    store: LocalStore
    limits: EngineLimits
    dataset: Dataset
    source: FileSource = FileSource(prefix="inbox")  # noqa: RUF009 - immutable
    now: datetime = NOW
    ttl: timedelta = timedelta(seconds=20)
    bulk: BulkLimits | None = None

    @property
    def storage(self) -> Storage:
        """The store as the only target."""
        return Storage.of(self.store)

    @property
    def context(self) -> WriteContext:
        """Of whoever writes to it."""
        return WriteContext(
            catalog=self.catalog, storage=self.storage, limits=self.limits, holder="test", ttl=self.ttl, clock=lambda: self.now
        )

    @classmethod
    def at(cls, root: Path, dataset: Dataset, *, url: str | None = None, **options: Any) -> Self:
        """Open or make a warehouse in this folder; its catalog is a SQLite file there unless a URL is given."""
        data = root / "data"
        (root / "inbox").mkdir(parents=True, exist_ok=True)
        if url is None and not (root / "catalog.db").exists():
            shutil.copy(empty_catalog(), root / "catalog.db")
        return cls(
            root=root,
            catalog=Catalog.open(url or f"sqlite:///{root / 'catalog.db'}"),
            store=LocalStore(data, staging_root=data / ".staging"),
            limits=EngineLimits(memory_bytes=500_000_000, threads=2, temp_dir=root / "temp"),
            dataset=dataset,
            **options,
        )

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def record(self) -> DatasetRecord:
        found = self.catalog.datasets.find(self.dataset.name)
        assert found is not None
        return found

    def drop(self, name: str, content: str | bytes | Sequence[Mapping[str, Any]] | pa.Table) -> Path:
        """Put a file into the inbox: text, bytes, records as JSON lines, or a table as Parquet."""
        path = self.inbox / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, newline="")
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in content))
        return path

    def lander(self) -> Lander:
        return Lander(self.context, bulk=self.bulk)

    def land(self, *paths: Path, **options: Any) -> LandReport:
        return self.lander().land_files(
            self.dataset, self.source, [local_file(path, self.inbox) for path in paths], actor="test", **options
        )

    def land_one(self, name: str, content: Any, **options: Any) -> FileReport:
        """Drop and land one file; its report."""
        return self.land(self.drop(name, content), **options).files[0]

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        """Visible rows in order of arrival, or the asked columns of them."""
        wanted = list(names or self.record.schema.names)
        with connect(self.limits) as con, self._opened(con, columns=wanted) as table:
            shown = ", ".join(f'"{name}"' for name in wanted)
            return con.execute(f"SELECT {shown} FROM {table} ORDER BY __session, __source, __position").fetchall()

    def places(self) -> list[tuple[int, int]]:
        """Source partition and position of every visible row, in order of arrival."""
        with connect(self.limits) as con, self._opened(con, columns=["ts"]) as table:
            return con.execute(f"SELECT __source, __position FROM {table} ORDER BY __session, __source, __position").fetchall()

    def content_hash(self) -> str:
        with connect(self.limits) as con, self._opened(con, stored=True) as table:
            return quick_hash(con, self.record.schema, table)

    def _opened(self, con: duckdb.DuckDBPyConnection, **options: Any) -> Any:
        record = self.record
        return opened(
            con,
            self.catalog.manifest.segments(record.id),
            storage=self.storage,
            schema=record.schema,
            schema_of=lambda version: self.catalog.datasets.schema(record.id, version),
            retracted=self.catalog.manifest.retracted(record.id),
            **options,
        )

    def letters(self) -> list[DeadLetter]:
        """All refused records, by file and position."""
        found = read_dead_letters(self.catalog, self.storage, self.record.id, limit=1_000_000)
        return sorted(found, key=lambda letter: (letter.source, letter.position))

    def codes(self) -> list[str]:
        """Reason codes of all refused records, by file and position."""
        return [letter.code for letter in self.letters()]

    def counters(self) -> Counters:
        """Of all sources together."""
        return sum((source.counters for source in self.catalog.sources.of(self.record.id)), Counters())

    def objects(self) -> set[str]:
        return {found.name for found in self.store.list()}

    def collect(self) -> CollectReport:
        return collect(self.catalog, self.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))

    def with_dataset(self, changed: Dataset) -> LandingWarehouse:
        return replace(self, dataset=changed)
