"""The schema that Dagster shows says everything the declaration says about a column."""

from __future__ import annotations

from timestore_assets.declaration.from_yaml import dataset_from_attributes
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column
from timestore_assets.model.types import DOUBLE
from timestore_assets.orchestration.building.metadata import table_schema


def declared() -> Dataset:
    return dataset_from_attributes(
        {
            "name": "weather",
            "columns": {
                "station": {"type": "string", "isin": ["A", "B"]},
                "temp": {"type": "double", "nullable": True, "unit": "degF", "ge": -60, "lt": 140, "description": "Air"},
                "at": {"type": "timestamp"},
            },
            "time": "at",
            "start": "2024-01-01",
            "partition_by": ["station"],
            "dedupe": {"keys": ["station", "at"]},
        }
    )


def test_columns_carry_type_unit_and_constraints() -> None:
    dataset = declared()
    station, temp, at = table_schema(dataset.schema, dataset).columns
    assert (temp.name, temp.type, temp.description) == ("temp", "double", "Air [degF]")
    assert temp.constraints.nullable
    assert temp.constraints.other == ["≥ -60", "< 140"]
    assert dict(temp.tags) == {"unit": "degF"}
    assert station.constraints.other == ["one of A, B"]
    assert not station.constraints.nullable
    assert set(station.tags) == {"partition_by", "dedupe_key"}
    assert set(at.tags) == {"time", "dedupe_key"}


def test_a_column_nobody_declared_says_so() -> None:
    schema = declared().schema.with_columns(Column(name="gust", type=DOUBLE, nullable=True, origin="inferred"))
    gust = table_schema(schema).columns[-1]
    assert "undeclared" in gust.tags
    assert gust.description == "Found in the data; not declared"
