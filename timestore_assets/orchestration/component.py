"""The component that `type: timestore_assets.Dataset` names. Its attributes are those of `declaration.attributes`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

import dagster as dg
from pydantic import BaseModel

from timestore_assets.declaration.attributes import DatasetAttributes
from timestore_assets.declaration.from_attributes import to_dataset
from timestore_assets.declarations import datasets_in_project
from timestore_assets.model.errors import DeclarationError
from timestore_assets.orchestration.dataset_definitions import dataset_defs, serving_defs
from timestore_assets.orchestration.declared_state import declared_state
from timestore_assets.orchestration.scaffold import DatasetScaffolder
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings

if TYPE_CHECKING:
    from timestore_assets.model.dataset import Dataset as DeclaredDataset


@dg.scaffold_with(DatasetScaffolder)
@dataclasses.dataclass(frozen=True)
class Dataset(dg.Component):
    """A time-series dataset: a partitioned asset whose materialisation builds DuckDB partitions, with its sources and sensors.

    Files, topics and HTTP requests are landed exactly once, and what is refused is kept with its reason. The component brings
    what it uses. `timestore land`, `query` and the other commands find the declaration when they are run in the project.
    """

    declared: DeclaredDataset

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description="A time-partitioned dataset fed by files, topics and HTTP, and built as DuckDB partitions.",
            tags=["timeseries", "duckdb"],
            produces=["asset", "asset_check", "sensor", "schedule", "job"],
        )

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return DatasetAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component of parsed attributes; `{{ }}` is not rendered, because the command line reads the same file."""
        if not isinstance(attributes, DatasetAttributes):
            raise DeclarationError("is missing; the dataset's keys (name, columns, time, …) go below it", key="attributes")
        try:
            return cls(declared=to_dataset(attributes))
        except DeclarationError as error:
            raise error.located(file=str(context.path), line=None) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Of the dataset; with a project's first one, what the project is to have once: what serves all datasets."""
        found, settings = dataset_defs(self.declared), Settings.load()
        first = next((dataset.name for dataset, _ in datasets_in_project(context.defs_module_path)), None)
        if first != self.declared.name:
            return found
        state = declared_state(settings)
        in_project = {dataset.name: dataset for dataset, _ in datasets_in_project(context.defs_module_path)}
        return dg.Definitions.merge(found, serving_defs(ServedDatasets(from_files=in_project, state=state), settings))
