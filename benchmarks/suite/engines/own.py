"""This project: landed by the path that its sensor takes, sealed by builds, asked by its SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pyarrow as pa

# imports are no part of a figure
import timestore_assets.building.builder
import timestore_assets.landing.files.lander  # noqa: F401 - imported for the same reason
from benchmarks.suite.cpu_queries import TAGS, VALUES, CpuQuery
from benchmarks.suite.engines.engine import MEMORY_BYTES, FileKind, InProcess, Window
from timestore_assets.model.dataset import Dataset, SegmentPolicy
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import INT64, STRING, TIMESTAMP
from timestore_assets.model.window import Window as Length
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

SealedFormat = Literal["auto", "duckdb", "parquet"]
NAMES: dict[Window, str] = {"day": "cpu", "hour": "cpu_by_hour"}


class Own(InProcess):
    """A warehouse of two datasets, by day and by hour. Neither looks for duplicates, as the others don't."""

    def __init__(self, folder: Path, format: SealedFormat) -> None:
        super().__init__(folder)
        datasets = {name: dataset(name, window, format) for window, name in NAMES.items()}
        self.warehouse = Warehouse.open(Settings(home=folder / "home", memory=MEMORY_BYTES), datasets=datasets)
        for name in datasets:
            self.warehouse.resolve(name)
        self._name = "cpu"

    def load(self, file: Path, kind: FileKind, window: Window) -> int:
        self._name = NAMES[window]
        return self.warehouse.land(self._name, [file]).counters.landed

    def settle(self) -> None:
        partitions = [one.partition for one in self.warehouse.partitions(self._name)]
        for report in self.warehouse.build(self._name, partitions, close=True):
            if report.outcome != "built":
                raise RuntimeError(f"{report.partition}: {report.outcome}")

    def ask(self, query: CpuQuery, *, note: str) -> pa.Table:
        with self.warehouse.sql(f"{query.sql()} -- {note}") as answer:
            return answer.table()

    def version(self) -> str:
        return version("timestore_assets")

    def close(self) -> None:
        self.warehouse.close()


def dataset(name: str, window: Window, format: SealedFormat) -> Dataset:
    """The rows as they are. `format`: of sealed segments; `auto` decides by their size."""
    columns = [Column(name="time", type=TIMESTAMP), *(Column(name=tag, type=STRING) for tag in TAGS)]
    columns += [Column(name=value, type=INT64) for value in VALUES]
    return Dataset(
        name=name,
        schema=Schema(columns=tuple(columns)),
        time="time",
        start=datetime(2016, 1, 1, tzinfo=UTC),
        window=Length(window),
        partition_by=("hostname",),
        segments=SegmentPolicy(format=format),
    )


def made(folder: Path, format: SealedFormat) -> Own:
    return Own(folder, format)
