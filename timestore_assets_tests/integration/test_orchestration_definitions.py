"""What Dagster loads: the datasets of the user's folders, and one clear sentence when a declaration is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.cli.dagster_workspace import packaged_workspace
from timestore_assets.cli.demo.demo_declarations import DEMO_DEFS
from timestore_assets.definitions import defs
from timestore_assets.model.errors import DeclarationError
from timestore_assets.orchestration.component import Dataset
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET

pytestmark = QUIET


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TIMESTORE_DEFS", raising=False)
    return tmp_path / "home"


def declare(folder: Path, text: str, name: str = "readings") -> Path:
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def load() -> dg.Definitions:
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    return loaded


def test_a_home_of_ones_own_has_no_dataset(home: Path) -> None:
    loaded = load()
    assert list(loaded.resolve_all_asset_keys()) == []
    assert {sensor.name for sensor in loaded.sensors or ()} == {"timestore_relay", "timestore_alerts"}


@pytest.fixture
def demo(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with the datasets of the demo."""
    monkeypatch.setenv("TIMESTORE_DEFS", str(DEMO_DEFS))


@pytest.mark.usefixtures("demo")
def test_every_dataset_is_an_asset_with_its_sources_sensors_and_jobs() -> None:
    loaded = load()
    keys = {key.to_user_string() for key in loaded.resolve_all_asset_keys()}
    assert keys == {"nyc_weather", "nyc_weather/inbox_weather", "nyc_flights", "nyc_flights/flights"}
    sensors = {sensor.name: sensor.default_status for sensor in loaded.sensors or ()}
    assert set(sensors) == {
        "timestore_files", "timestore_topics", "timestore_builds", "timestore_backfills", "timestore_reloads",
        "timestore_relay", "timestore_alerts",
    }  # fmt: skip
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
    jobs = {job.name for job in loaded.resolve_all_job_defs() if not job.name.startswith("__")}
    upkeep = {"timestore_land_again", "timestore_gc", "timestore_retention", "timestore_verify"}
    assert jobs == {"land_nyc_weather", "stream_nyc_flights"} | upkeep


@pytest.mark.usefixtures("demo")
def test_an_asset_shows_what_the_declaration_says() -> None:
    graph = load().resolve_asset_graph()
    weather, flights = graph.get(dg.AssetKey("nyc_weather")), graph.get(dg.AssetKey("nyc_flights"))
    assert weather.parent_keys == {dg.AssetKey(["nyc_weather", "inbox_weather"])}
    assert (tuple(weather.owners), weather.kinds, weather.tags["domain"]) == (("team:weather",), {"duckdb", "parquet"}, "weather")
    assert flights.kinds == {"duckdb"}
    topic = graph.get(dg.AssetKey(["nyc_flights", "flights"]))
    assert topic.kinds == {"kafka", "json"}
    assert (topic.metadata["topics"], topic.metadata["group"], topic.metadata["start"]) == (
        "flights", "timestore-nyc_flights", "earliest",
    )  # fmt: skip
    assert {key.name for key in graph.get_check_keys_for_assets({dg.AssetKey("nyc_flights")})} == {
        "schema", "accounting", "freshness", "files", "dead_letters", "lost_offsets", "stream",
    }  # fmt: skip
    columns = {column.name: column for column in weather.metadata["dagster/column_schema"].columns}
    assert len(columns) == 15
    assert dict(columns["temp"].tags) == {"unit": "degF"}
    assert weather.partitions_def is not None
    assert weather.partitions_def.get_num_partitions() == 365
    assert flights.partitions_def is not None
    assert flights.partitions_def.get_partition_keys()[-1] == "2014-01-01"
    assert {key.name for key in graph.get_check_keys_for_assets({dg.AssetKey("nyc_weather")})} == {
        "schema", "accounting", "freshness", "files", "dead_letters",
    }  # fmt: skip


def test_datasets_of_the_home_and_of_other_folders_join_them(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(home / "defs", DECLARATION)
    declare(tmp_path / "mine", DECLARATION.replace("name: readings", "name: pressures"), "pressures")
    monkeypatch.setenv("TIMESTORE_DEFS", os.pathsep.join([str(tmp_path / "mine"), str(tmp_path / "absent")]))
    keys = {key.to_user_string() for key in load().resolve_all_asset_keys()}
    assert {"readings", "pressures"} <= keys


@pytest.mark.parametrize(
    ("wrong", "line", "key"),
    [
        ("  time: at\n", 10, "time"),
        ("    value: {type: double, nullable: true, unit: degC, le: 100}\n", 9, "columns.value.type"),
        ("    - files: {prefix: inbox/readings/, format: csv}\n", 16, "sources.0.files.format"),
    ],
)
def test_a_wrong_declaration_names_file_line_and_key(home: Path, wrong: str, line: int, key: str) -> None:
    broken = wrong.replace("at\n", "when\n").replace("double", "duoble").replace("csv", "cvs")
    path = declare(home / "defs", DECLARATION.replace(wrong, broken))
    with pytest.raises(DeclarationError) as caught:
        load()
    assert str(caught.value).startswith(f"{path}:{line}: {key}: ")


def test_the_same_name_twice_is_refused(home: Path) -> None:
    declare(home / "defs", DECLARATION)
    path = declare(home / "defs", DECLARATION, "same")
    with pytest.raises(DeclarationError, match="already declared in") as caught:
        load()
    assert str(caught.value).startswith(str(path))


def test_what_only_a_project_folder_can_do_is_refused_outside(home: Path) -> None:
    declare(home / "defs", DECLARATION + "post_processing:\n  assets: []\n")
    with pytest.raises(DeclarationError, match="post_processing: works in a Dagster project's own defs folder only"):
        load()


def test_the_gate_fails_with_one_sentence(home: Path, tmp_path: Path) -> None:
    path = declare(home / "defs", DECLARATION.replace("window: day", "window: fortnight"))
    dagster = Path(sys.executable).parent / "dagster"
    result = subprocess.run(
        [dagster, "definitions", "validate", *packaged_workspace(tmp_path).arguments],
        cwd=tmp_path,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode != 0
    assert f"{path}:11: window: is 'fortnight'; write " in result.stdout + result.stderr


def test_the_component_works_in_a_project_of_its_own(home: Path) -> None:
    component = Dataset.from_attributes_dict(
        attributes={"name": "tides", "columns": {"at": "timestamp"}, "time": "at", "start": "2024-01-01", "window": "hour"}
    )
    loaded = dg.build_defs_for_component(component)
    dg.Definitions.validate_loadable(loaded)
    assert {key.to_user_string() for key in loaded.resolve_all_asset_keys()} == {"tides"}


def test_importing_the_package_imports_no_dagster() -> None:
    code = "import sys, timestore_assets; assert 'dagster' not in sys.modules; print(timestore_assets.Dataset.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "Dataset\n"


def test_group_prefix_kinds_deps_and_freshness_are_as_declared(home: Path) -> None:
    keys = """  group: harbour
  key_prefix: sea/north
  kinds: [sensor]
  deps: [raw/stations]
  freshness: {max_age: 2h}
"""
    declare(home / "defs", DECLARATION + keys)
    declare(home / "defs", (DECLARATION + keys).replace("name: readings", "name: ended\n  end: 2024-02-01"), "ended")
    loaded = load()
    graph = loaded.resolve_asset_graph()
    asset = graph.get(dg.AssetKey(["sea", "north", "readings"]))
    assert asset.parent_keys == {dg.AssetKey(["sea", "north", "readings", "inbox_readings"]), dg.AssetKey(["raw", "stations"])}
    assert asset.kinds == {"duckdb", "parquet", "sensor"}
    assert {graph.get(key).group_name for key in asset.parent_keys} == {"harbour", "default"}
    assert asset.group_name == "harbour"
    policy = graph.get(asset.key).freshness_policy_or_from_metadata
    assert policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))
    assert "freshness" not in {key.name for key in graph.get_check_keys_for_assets({asset.key})}
    ended = graph.get(dg.AssetKey(["sea", "north", "ended"]))
    assert ended.freshness_policy_or_from_metadata is None, "nothing is expected any more"
    (builds,) = [sensor for sensor in loaded.sensors or () if sensor.name == "timestore_builds"]
    assert builds.asset_selection is not None
    assert asset.key in builds.asset_selection.resolve(graph)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("key_prefix: a//b", "key_prefix"),
        ("group: no spaces", "group"),
        ("deps: [a b]", "deps"),
        ("freshness: {max_age: 5s}", "write 1m or more"),
    ],
)
def test_what_dagster_would_refuse_is_refused_before(home: Path, line: str, words: str) -> None:
    declare(home / "defs", f"{DECLARATION}  {line}\n")
    with pytest.raises(DeclarationError, match=words):
        load()
