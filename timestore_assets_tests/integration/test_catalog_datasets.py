"""Registering declarations, and what may change once there are rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.dataset import Dedupe, FileSource, Late
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE, INT64, STRING, parse_type
from timestore_assets.model.window import Window
from timestore_assets_tests.support.catalog_dataset import START, WEATHER, CatalogDataset


def with_columns(*columns: Column) -> Any:
    return replace(WEATHER, schema=WEATHER.schema.with_columns(*columns))


def test_registering_is_idempotent(catalog: Catalog) -> None:
    record = catalog.datasets.register(WEATHER, actor="test")
    audited = catalog.audit.newest()
    assert catalog.datasets.register(WEATHER, actor="test") == record
    assert catalog.audit.newest() == audited
    assert (record.name, record.manifest_version, record.schema) == ("weather", 0, WEATHER.schema)
    assert record.definition == WEATHER.definition()
    assert [source.address for source in catalog.sources.of(record.id)] == ["inbox/weather/**/*"]


def test_datasets_are_found_by_name(catalog: Catalog) -> None:
    assert catalog.datasets.find("weather") is None
    records = [catalog.datasets.register(replace(WEATHER, name=name), actor="test") for name in ("b", "a")]
    assert catalog.datasets.all() == [records[1], records[0]]
    assert catalog.datasets.find("b") == records[0]


def test_a_new_nullable_column_is_the_next_schema_version(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    record = catalog_dataset.catalog.datasets.register(with_columns(Column(name="wind", type=DOUBLE, nullable=True)), actor="ada")
    assert (record.schema.version, record.schema.names) == (2, ("time", "origin", "temp", "wind"))
    newest = catalog_dataset.catalog.datasets.schema_history(catalog_dataset.id)[0]
    assert (newest["actor"], newest["changes"][0]["column"]) == ("ada", "wind")
    assert catalog_dataset.catalog.datasets.schema(catalog_dataset.id, 1) == WEATHER.schema


def test_wider_types_are_taken(catalog_dataset: CatalogDataset) -> None:
    count = Column(name="count", type=parse_type("int32"), nullable=True)
    catalog_dataset.catalog.datasets.register(with_columns(count), actor="test")
    catalog_dataset.land()
    record = catalog_dataset.catalog.datasets.register(with_columns(replace(count, type=INT64)), actor="test")
    assert (record.schema.version, record.schema.column("count").type) == (3, INT64)


def test_what_segments_do_not_depend_on_changes_freely(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land()
    changed = replace(
        with_columns(replace(WEATHER.schema.column("origin"), description="airport", unit="-")),
        description="new",
        late=Late(allowed=timedelta(days=2)),
        sources=(*WEATHER.sources, FileSource(prefix="more")),
        start=START - timedelta(days=5),
    )
    record = catalog_dataset.catalog.datasets.register(changed, actor="test")
    assert record.schema.version == 1
    assert record.schema.column("origin").description == "airport"
    assert record.definition == changed.definition()
    assert len(catalog_dataset.catalog.sources.of(catalog_dataset.id)) == 2
    assert catalog_dataset.catalog.datasets.register(changed, actor="test") == record


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (replace(WEATHER, schema=Schema(columns=WEATHER.schema.columns[:2])), "column 'temp' was removed"),
        (with_columns(Column(name="temp", type=INT64, nullable=True)), "column 'temp' can't go from double to int64"),
        (with_columns(Column(name="temp", type=DOUBLE)), "column 'temp' was nullable"),
        (with_columns(Column(name="new", type=DOUBLE)), "new column 'new' must be nullable"),
        (replace(WEATHER, window=Window.MONTH), "window changed from 'day' to 'month'"),
        (replace(WEATHER, partition_by=("origin",)), "partition_by changed"),
        (replace(WEATHER, dedupe=Dedupe(keys=("time", "origin"))), "dedupe changed"),
        (
            replace(WEATHER, start=START + timedelta(days=1)),
            "start moved to 2013-01-02T00:00:00Z, past rows of 2013-01-01T01:00:00Z",
        ),
        (replace(WEATHER, end=START + timedelta(hours=2)), "end moved"),
    ],
)
def test_with_rows_the_rest_is_refused(catalog_dataset: CatalogDataset, changed: Any, says: str) -> None:
    catalog_dataset.land()
    with pytest.raises(RefusedError, match=says):
        catalog_dataset.catalog.datasets.register(changed, actor="test")
    assert catalog_dataset.catalog.datasets.find("weather") == replace(catalog_dataset.record, manifest_version=1)


def test_without_rows_everything_may_change(catalog_dataset: CatalogDataset) -> None:
    changed = replace(
        WEATHER, window=Window.HOUR, schema=Schema(columns=(*WEATHER.schema.columns[:1], Column(name="x", type=STRING)))
    )
    record = catalog_dataset.catalog.datasets.register(changed, actor="test")
    assert record.schema == replace(changed.schema, version=2)
    catalog_dataset.land()
    assert catalog_dataset.catalog.partitions.of(catalog_dataset.id)[0].partition.window is Window.HOUR


def test_declaring_an_inferred_column_keeps_its_stored_form(catalog_dataset: CatalogDataset) -> None:
    inferred = Column(name="wind", type=INT64, nullable=True, origin="inferred")
    other = Column(name="gust", type=STRING, nullable=True, origin="inferred")
    evolved = replace(catalog_dataset.record.schema.with_columns(inferred, other), version=2)
    catalog_dataset.land(schema=evolved, base_schema_version=1)
    record = catalog_dataset.catalog.datasets.register(
        with_columns(Column(name="wind", type=DOUBLE, nullable=True, unit="mph")), actor="test"
    )
    wind = record.schema.column("wind")
    assert (wind.origin, wind.type, wind.unit, wind.stored_type) == ("inferred", DOUBLE, "mph", "VARCHAR")
    assert record.schema.column("gust") == other
    assert record.schema.version == 3
    with pytest.raises(RefusedError, match="int64 without losing"):
        catalog_dataset.catalog.datasets.register(with_columns(Column(name="wind", type=INT64, nullable=True)), actor="test")


def test_definitions_survive_reopening(catalog_url: str) -> None:
    first = Catalog.open(catalog_url)
    catalog_dataset = CatalogDataset.of(first)
    catalog_dataset.land()
    record, segments = first.datasets.find("weather"), catalog_dataset.live()
    first.close()
    second = Catalog.open(catalog_url)
    assert (second.datasets.find("weather"), second.manifest.segments(catalog_dataset.id)) == (record, segments)
    second.close()
