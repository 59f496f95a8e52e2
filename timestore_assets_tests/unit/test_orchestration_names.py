"""Names in Dagster are made of what people declare, and can't clash within a code location."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import TIMESTAMP
from timestore_assets.orchestration.dagster_names import prefix_key, source_keys, topic_key
from timestore_assets.orchestration.dataset_definitions import dataset_defs, shared_defs
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings

SOURCES = (
    FileSource(prefix="inbox/weather/"),
    FileSource(prefix="inbox/weather", glob="late-*.csv"),
    FileSource(prefix="/srv/in.d"),
)
DATASET = Dataset(
    name="weather",
    schema=Schema(columns=(Column(name="at", type=TIMESTAMP),)),
    time="at",
    start=datetime(2024, 1, 1, tzinfo=UTC),
    sources=SOURCES,
)


def test_a_source_is_named_by_dataset_folder_and_glob() -> None:
    assert [prefix_key(DATASET, source).path for source in SOURCES] == [
        ["weather", "inbox_weather"],
        ["weather", "inbox_weather_late_csv"],
        ["weather", "srv_in_d"],
    ]


def test_two_datasets_may_watch_the_same_folder() -> None:
    other = dataclasses.replace(DATASET, name="flights")
    assert prefix_key(DATASET, SOURCES[0]) != prefix_key(other, SOURCES[0])


def test_a_prefix_that_is_the_home_itself_has_a_name() -> None:
    assert prefix_key(DATASET, FileSource(prefix="./")).path == ["weather", "files"]


def test_a_prefix_of_a_bucket_reads_as_one_name() -> None:
    source = FileSource(prefix="s3://lake/raw/{window:%Y/%m/%d}/")
    assert prefix_key(DATASET, source).path == ["weather", "s3_lake_raw_window_Y_m_d"]


def test_topics_are_named_by_dataset_and_topic_and_numbered_by_source() -> None:
    topics = (KafkaSource(topics=("metar", "taf.v2")), KafkaSource(topics=("inbox_weather",)))
    mixed = dataclasses.replace(DATASET, sources=(topics[0], SOURCES[0], topics[1], SOURCES[2]))
    assert [key.path for source in mixed.sources for key in source_keys(mixed, source)] == [
        ["weather", "metar"],
        ["weather", "taf.v2"],
        ["weather", "inbox_weather"],
        ["weather", "topic_inbox_weather"],
        ["weather", "srv_in_d"],
    ]
    assert topic_key(mixed, "metar").path == ["weather", "metar"]


def test_what_programs_send_is_an_asset_of_its_own() -> None:
    mixed = dataclasses.replace(DATASET, sources=(SOURCES[0], HttpSource()))
    assert [key.path for source in mixed.sources for key in source_keys(mixed, source)] == [
        ["weather", "inbox_weather"],
        ["weather", "http"],
    ]
    taken = dataclasses.replace(DATASET, sources=(KafkaSource(topics=("http",)), HttpSource()))
    assert source_keys(taken, HttpSource())[0].path == ["weather", "http_requests"]


def test_a_dataset_that_only_programs_feed_has_no_sensor_that_watches(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    fed = dataclasses.replace(DATASET, sources=(HttpSource(),))
    own = dataset_defs(fed, settings)
    shared = shared_defs(ServedDatasets(from_files={fed.name: fed}), settings)
    sensors = [sensor.name for sensor in shared.sensors or ()]
    assert sensors == ["timestore_builds", "timestore_backfills", "timestore_reloads", "timestore_relay", "timestore_alerts"]
    graph = dg.Definitions.merge(own, shared).resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {"weather", "weather/http"}
    assert [key.path for key in graph.get(dg.AssetKey("weather")).parent_keys] == [["weather", "http"]]
