"""Where columns come from: fields of sources, former names, and what expressions read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg

from timestore_assets.declaration.from_yaml import dataset_from_attributes
from timestore_assets.model.column_lineage import ColumnOrigin, column_lineage
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Column, FormerName, Schema
from timestore_assets.model.types import DOUBLE
from timestore_assets.orchestration.building.build_asset import dataset_spec
from timestore_assets.orchestration.building.metadata import table_lineage


def declared(*sources: dict[str, Any]) -> Dataset:
    return dataset_from_attributes(
        {
            "name": "weather",
            "columns": {"at": {"type": "timestamp"}, "station": {"type": "string"}, "temp": {"type": "double"}},
            "time": "at",
            "start": "2024-01-01",
            "sources": list(sources),
        }
    )


FILES = {"files": {"prefix": "inbox/weather/", "fields": {"temp": "main.temp"}}}
TOPICS = {"kafka": {"topics": ["obs", "more"], "times": {"at": {"columns": ["date", "clock"]}}}}


def sent(origin: ColumnOrigin) -> list[tuple[str, str]]:
    return [(one.source.address, one.field) for one in origin.fields]


def with_ids(schema: Schema, *more: Column, retired: tuple[Column, ...] = ()) -> Schema:
    numbered = tuple(replace(column, id=number) for number, column in enumerate(schema.columns, 1))
    return replace(schema, columns=(*numbered, *more), retired=retired)


def test_a_column_comes_from_the_field_that_each_source_names() -> None:
    dataset = declared(FILES, TOPICS)
    found = column_lineage(dataset, dataset.schema)
    assert sent(found["temp"]) == [("inbox/weather/**/*", "main.temp"), ("obs,more", "temp")]
    assert sent(found["at"]) == [("inbox/weather/**/*", "at"), ("obs,more", "date"), ("obs,more", "clock")]
    assert found["station"].columns == () and found["station"].expression is None


def test_a_former_name_is_a_field_too() -> None:
    dataset = declared({"http": {}})
    renamed = replace(dataset.schema.column("temp"), name="temp_c", aliases=(FormerName(name="temp"),))
    schema = replace(dataset.schema, columns=(*dataset.schema.columns[:2], renamed))
    assert sent(column_lineage(dataset, schema)["temp_c"]) == [("/ingest", "temp_c"), ("/ingest", "temp")]


def test_an_expression_adds_the_columns_that_it_reads_by_the_names_they_have_now() -> None:
    dataset = declared({"http": {}})
    celsius = Column(name="celsius", type=DOUBLE, id=4, expression='("#3" - 32) / 1.8')
    origin = column_lineage(dataset, with_ids(dataset.schema, celsius))["celsius"]
    assert (origin.columns, origin.expression) == (("temp",), '("temp" - 32) / 1.8')


def test_of_a_retired_column_what_it_came_from_stands_in_its_place() -> None:
    dataset = declared({"http": {}})
    # the retired one has the name and the type of a column that there is again
    raw = Column(name="temp", type=DOUBLE, id=7, expression='"#8" * "#2"')
    older = Column(name="fahrenheit", type=DOUBLE, id=8)
    celsius = Column(name="celsius", type=DOUBLE, id=9, expression='"#7" - 32')
    origin = column_lineage(dataset, with_ids(dataset.schema, celsius, retired=(raw, older)))["celsius"]
    assert sent(origin) == [("/ingest", "celsius"), ("/ingest", "temp"), ("/ingest", "fahrenheit")]
    assert origin.columns == ("station",)


def test_expressions_that_read_each_other_come_to_an_end() -> None:
    dataset = declared({"http": {}})
    one = Column(name="one", type=DOUBLE, id=8, expression='"#9"')
    two = Column(name="two", type=DOUBLE, id=9, expression='"#8"')
    wanted = Column(name="wanted", type=DOUBLE, id=10, expression='"#8"')
    found = column_lineage(dataset, with_ids(dataset.schema, wanted, retired=(one, two)))
    assert sent(found["wanted"]) == [("/ingest", "wanted"), ("/ingest", "one"), ("/ingest", "two")]


def test_dagster_is_told_of_fields_by_the_assets_of_their_sources() -> None:
    dataset = declared(FILES, TOPICS)
    celsius = Column(name="celsius", type=DOUBLE, id=4, expression='"#3" - 32')
    deps = table_lineage(with_ids(dataset.schema, celsius), dataset).deps_by_column
    prefix, obs, more = (["weather", name] for name in ("inbox_weather", "obs", "more"))
    found = [(list(one.asset_key.path), one.column_name) for one in deps["temp"]]
    assert sorted(found) == sorted([(prefix, "main.temp"), (obs, "temp"), (more, "temp")])
    assert dg.TableColumnDep(asset_key=dg.AssetKey("weather"), column_name="temp") in deps["celsius"]


def test_the_lineage_is_part_of_the_assets_definition() -> None:
    dataset = declared(FILES)
    metadata = dataset_spec(dataset).metadata
    assert metadata["dagster/column_lineage"] == table_lineage(dataset.schema, dataset)
