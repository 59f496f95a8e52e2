"""A warehouse in a temporary home with one small dataset, a real ephemeral Dagster instance, and its definitions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.orchestration.dataset_definitions import dataset_defs, shared_defs
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.landing_warehouse import empty_catalog

QUIET = [
    pytest.mark.filterwarnings("ignore:Parameter `(owners|execution_type|backfill_policy)` of .* is currently in beta"),
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated"),
]
"""Warnings of Dagster's about what it does itself, inside."""

DECLARATION = """\
type: timestore_assets.Dataset
attributes:
  name: readings
  description: Sensor readings
  owners: ["team:sensors"]
  columns:
    device: {type: string}
    at: {type: timestamp}
    value: {type: double, nullable: true, unit: degC, le: 100}
  time: at
  window: day
  start: 2024-01-01
  partition_by: [device]
  dedupe: {keys: [device, at], keep: last}
  sources:
    - files: {prefix: inbox/readings/, format: csv}
  build: {age: 1h}
"""

TOPICS = DECLARATION.replace(
    "- files: {prefix: inbox/readings/, format: csv}",
    "- kafka: {topic: readings, idle: 1s}",
)
"""The same, landed from a topic; a session ends a second after its last record."""


@dataclass(frozen=True)
class DagsterDeployment:
    """`home`: what TIMESTORE_HOME names."""

    home: Path
    dataset: Dataset
    instance: dg.DagsterInstance

    @property
    def settings(self) -> Settings:
        return Settings.load()

    @cached_property
    def definitions(self) -> dg.Definitions:
        served = ServedDatasets(from_files={self.dataset.name: self.dataset})
        return dg.Definitions.merge(dataset_defs(self.dataset, self.settings), shared_defs(served, self.settings))

    @property
    def source(self) -> FileSource:
        return self.dataset.file_sources[0]

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        with Warehouse.open(self.settings) as warehouse:
            yield warehouse

    def drop(self, name: str, rows: Sequence[str], *, header: str = "device,at,value") -> Path:
        """Put a CSV file into the watched folder, complete at once."""
        folder = self.home / self.source.prefix
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{name}"
        unfinished.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return unfinished.replace(folder / name)

    def declare(self, change: Callable[[str], str]) -> Dataset:
        """Write the declaration anew and return what it declares now."""
        text = change(DECLARATION)
        assert text != DECLARATION
        (self.home / "defs" / "readings" / "defs.yaml").write_text(text, encoding="utf-8")
        return parse_declaration(text)

    def tick(self, sensor: str, cursor: str | None = None) -> dg.SensorExecutionData | dg.SensorResult:
        """Evaluate a sensor as the daemon does, with the real resources."""
        definition = self.definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self.definitions,
            sensor_name=sensor,
        ) as context:
            return definition.evaluate_tick(context)

    def run(self, request: dg.RunRequest, job: str) -> dg.ExecuteInProcessResult:
        """Do what a run request asks for, in this process."""
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
        )


@contextmanager
def dagster_deployment(folder: Path, declaration: str = DECLARATION) -> Iterator[DagsterDeployment]:
    """The ground below `folder`; TIMESTORE_HOME names it meanwhile."""
    home = folder / "home"
    declared = home / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(declaration, encoding="utf-8")
    shutil.copy(empty_catalog(), home / "catalog.sqlite")
    before = {name: os.environ.get(name) for name in ("TIMESTORE_HOME", "TIMESTORE_PARTITION_BUILD_BACKOFF_MS")}
    os.environ.update({"TIMESTORE_HOME": str(home), "TIMESTORE_PARTITION_BUILD_BACKOFF_MS": "0"})
    try:
        with dg.DagsterInstance.ephemeral(tempdir=str(folder)) as instance:
            yield DagsterDeployment(home=home, dataset=parse_declaration(declaration), instance=instance)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
