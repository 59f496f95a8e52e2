"""Registering declarations, and what may change once there are rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from timestore_assets.catalog.sql import SqlCatalog
from timestore_assets.model.dataset import Dedupe, FileSource, Late
from timestore_assets.model.errors import RefusedError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE, INT64, STRING, parse_type
from timestore_assets.model.window import Window
from timestore_assets_tests.catalog_ground import START, WEATHER, Ground


def with_columns(*columns: Column) -> Any:
    return replace(WEATHER, schema=WEATHER.schema.with_columns(*columns))


def test_registering_is_idempotent(catalog: SqlCatalog) -> None:
    record = catalog.register(WEATHER, actor="test")
    audited = catalog.audit()
    assert catalog.register(WEATHER, actor="test") == record
    assert catalog.audit() == audited
    assert (record.name, record.manifest_version, record.schema) == ("weather", 0, WEATHER.schema)
    assert record.definition == WEATHER.definition()
    assert [source.address for source in catalog.sources(record.id)] == ["inbox/weather/**/*"]


def test_datasets_are_found_by_name(catalog: SqlCatalog) -> None:
    assert catalog.dataset("weather") is None
    records = [catalog.register(replace(WEATHER, name=name), actor="test") for name in ("b", "a")]
    assert catalog.datasets() == [records[1], records[0]]
    assert catalog.dataset("b") == records[0]


def test_a_new_nullable_column_is_the_next_schema_version(ground: Ground) -> None:
    ground.land()
    record = ground.catalog.register(with_columns(Column(name="wind", type=DOUBLE, nullable=True)), actor="ada")
    assert (record.schema.version, record.schema.names) == (2, ("time", "origin", "temp", "wind"))
    newest = ground.catalog.schema_history(ground.id)[0]
    assert (newest["actor"], newest["changes"][0]["column"]) == ("ada", "wind")
    assert ground.catalog.schema(ground.id, 1) == WEATHER.schema


def test_wider_types_are_taken(ground: Ground) -> None:
    count = Column(name="count", type=parse_type("int32"), nullable=True)
    ground.catalog.register(with_columns(count), actor="test")
    ground.land()
    record = ground.catalog.register(with_columns(replace(count, type=INT64)), actor="test")
    assert (record.schema.version, record.schema.column("count").type) == (3, INT64)


def test_what_segments_do_not_depend_on_changes_freely(ground: Ground) -> None:
    ground.land()
    changed = replace(
        with_columns(replace(WEATHER.schema.column("origin"), nullable=True, description="airport", unit="-")),
        description="new",
        late=Late(allowed=timedelta(days=2)),
        sources=(*WEATHER.sources, FileSource(prefix="more")),
        start=START - timedelta(days=5),
    )
    record = ground.catalog.register(changed, actor="test")
    assert record.schema.version == 1
    assert record.schema.column("origin").description == "airport"
    assert record.definition == changed.definition()
    assert len(ground.catalog.sources(ground.id)) == 2
    assert ground.catalog.register(changed, actor="test") == record


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
def test_with_rows_the_rest_is_refused(ground: Ground, changed: Any, says: str) -> None:
    ground.land()
    with pytest.raises(RefusedError, match=says):
        ground.catalog.register(changed, actor="test")
    assert ground.catalog.dataset("weather") == replace(ground.record, manifest_version=1)


def test_without_rows_everything_may_change(ground: Ground) -> None:
    changed = replace(
        WEATHER, window=Window.HOUR, schema=Schema(columns=(*WEATHER.schema.columns[:1], Column(name="x", type=STRING)))
    )
    record = ground.catalog.register(changed, actor="test")
    assert record.schema == replace(changed.schema, version=2)
    ground.land()
    assert ground.catalog.partitions(ground.id)[0].partition.window is Window.HOUR


def test_declaring_an_inferred_column_keeps_its_stored_form(ground: Ground) -> None:
    inferred = Column(name="wind", type=INT64, nullable=True, origin="inferred")
    other = Column(name="gust", type=STRING, nullable=True, origin="inferred")
    evolved = replace(ground.record.schema.with_columns(inferred, other), version=2)
    ground.land(schema=evolved, base_schema_version=1)
    record = ground.catalog.register(with_columns(Column(name="wind", type=DOUBLE, nullable=True, unit="mph")), actor="test")
    wind = record.schema.column("wind")
    assert (wind.origin, wind.type, wind.unit, wind.stored_type) == ("inferred", DOUBLE, "mph", "VARCHAR")
    assert record.schema.column("gust") == other
    assert record.schema.version == 3
    with pytest.raises(RefusedError, match="int64 without losing"):
        ground.catalog.register(with_columns(Column(name="wind", type=INT64, nullable=True)), actor="test")


def test_definitions_survive_reopening(catalog_url: str) -> None:
    first = SqlCatalog.open(catalog_url)
    ground = Ground.of(first)
    ground.land()
    record, segments = first.dataset("weather"), ground.live()
    first.close()
    second = SqlCatalog.open(catalog_url)
    assert (second.dataset("weather"), second.segments(ground.id)) == (record, segments)
    second.close()
