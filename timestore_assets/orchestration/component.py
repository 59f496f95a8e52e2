"""The component that `type: timestore_assets.Dataset` names. Its attributes are those of `model.attributes`, written once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

import dagster as dg
from pydantic import BaseModel

from timestore_assets.model.attributes import DatasetAttributes
from timestore_assets.model.declared import to_dataset
from timestore_assets.model.errors import DeclarationError
from timestore_assets.orchestration.dataset_defs import dataset_defs

if TYPE_CHECKING:
    from timestore_assets.model.dataset import Dataset as DeclaredDataset


@dataclasses.dataclass(frozen=True)
class Dataset(dg.Component):
    """A time-series dataset: a partitioned asset whose materialisation builds DuckDB partitions, with its sources and sensors."""

    declared: DeclaredDataset

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            description="A time-partitioned dataset fed by files and built as DuckDB partitions.",
            tags=["timeseries", "duckdb"],
            produces=["asset", "asset_check", "sensor", "job"],
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

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        return dataset_defs(self.declared)
