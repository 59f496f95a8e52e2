"""What Dagster loads: the packaged datasets, those of the user's folders, and one clear sentence when a declaration is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.definitions import defs
from timestore_assets.model.errors import DeclarationError
from timestore_assets.orchestration.component import Dataset
from timestore_assets.orchestration.shared_defs import shared_defs
from timestore_assets_tests.orchestration_ground import DECLARATION, QUIET

pytestmark = QUIET
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
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


def test_the_packaged_datasets_are_there(home: Path) -> None:
    loaded = load()
    keys = {key.to_user_string() for key in loaded.resolve_all_asset_keys()}
    assert keys == {"nyc_weather", "nyc_weather/inbox_weather", "nyc_flights", "nyc_flights/flights"}
    sensors = {sensor.name: sensor.default_status for sensor in loaded.sensors or ()}
    assert set(sensors) == {
        "watch_nyc_weather", "build_nyc_weather", "follow_nyc_flights", "build_nyc_flights", "timestore_relay",
    }  # fmt: skip
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
    jobs = {job.name for job in loaded.resolve_all_job_defs() if not job.name.startswith("__")}
    assert jobs == {"land_nyc_weather", "stream_nyc_flights"}


def test_an_asset_shows_what_the_declaration_says(home: Path) -> None:
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
    assert {"readings", "pressures", "nyc_weather"} <= keys


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
    path = declare(home / "defs", DECLARATION.replace("name: readings", "name: nyc_weather"))
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
        [dagster, "definitions", "validate", "-w", PROJECT / "workspace.yaml"],
        cwd=PROJECT,
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
    loaded = dg.Definitions.merge(dg.build_defs_for_component(component), shared_defs())
    dg.Definitions.validate_loadable(loaded)
    assert {key.to_user_string() for key in loaded.resolve_all_asset_keys()} == {"tides"}


def test_importing_the_package_imports_no_dagster() -> None:
    code = "import sys, timestore_assets; assert 'dagster' not in sys.modules; print(timestore_assets.Dataset.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "Dataset\n"
