"""A Dagster project of one's own: the component alone loads, beside own resources, and the commands find its datasets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import timestore_assets
from timestore_assets.cli.dagster_workspace import packaged_workspace, workspace_of
from timestore_assets.dagster_project import project_around
from timestore_assets.model.errors import DeclarationError
from timestore_assets.settings import Settings
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET

pytestmark = QUIET
PYPROJECT = """
[project]
name = "station"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "station"
"""
DEFINITIONS = """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
OWN = """
import dagster as dg
from dagster_duckdb import DuckDBResource

class Warehouse(dg.ConfigurableResource):
    name: str = "of the company"

@dg.asset
def report(readings: object, warehouse: Warehouse, duckdb: DuckDBResource) -> None: ...

@dg.definitions
def own() -> dg.Definitions:
    resources = {"warehouse": Warehouse(), "duckdb": DuckDBResource(database=":memory:")}
    return dg.Definitions(assets=[report], resources=resources)
"""
OTHER = "type: dagster.PythonScriptComponent\nattributes: {execution: {path: '{{ anything }}'}}\n"


def declared(name: str) -> str:
    return DECLARATION.replace("readings", name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a project with datasets at two depths and several in a file; it is the working directory."""
    root = tmp_path / "project"
    files = {
        "definitions.py": DEFINITIONS,
        "__init__.py": "",
        "defs/__init__.py": "",
        "defs/own.py": OWN,
        "defs/readings/defs.yaml": declared("readings"),
        "defs/deeper/tides/defs.yaml": "---\n".join([declared("tides"), declared("waves")]),
    }
    for name, text in files.items():
        path = root / "src" / "station" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.delenv("TIMESTORE_HOME", raising=False)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(root / "src"))
    project_around.cache_clear()
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "station"]:
        del sys.modules[name]


def defs_of(project: Path) -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=project / "src" / "station")


def landed_by(sensor: str, loaded: dg.Definitions) -> set[str]:
    """The jobs that a sensor may ask for."""
    return {job.name for job in loaded.resolve_sensor_def(sensor).jobs}


def test_several_components_load_beside_own_resources_of_any_name(project: Path) -> None:
    loaded = defs_of(project)
    dg.Definitions.validate_loadable(loaded)
    assert {"readings", "tides", "waves", "report"} <= {key.to_user_string() for key in loaded.resolve_all_asset_keys()}
    names = [sensor.name for sensor in loaded.sensors or ()]
    assert len(names) == len(set(names)) and {"timestore_relay", "timestore_alerts", "timestore_files"} <= set(names)
    assert landed_by("timestore_files", loaded) == {"land_readings", "land_tides", "land_waves"}
    assert type((loaded.resources or {})["warehouse"]).__name__ == "Warehouse"


def test_one_line_adds_the_datasets_of_the_home_and_leaves_own_resources_alone(project: Path) -> None:
    home = project / ".timestore" / "defs" / "winds"
    home.mkdir(parents=True)
    (home / "defs.yaml").write_text(declared("winds"))
    loaded = timestore_assets.defs(defs_of(project))
    dg.Definitions.validate_loadable(loaded)
    assert {"readings", "winds", "report"} <= {key.to_user_string() for key in loaded.resolve_all_asset_keys()}
    assert type((loaded.resources or {})["warehouse"]).__name__ == "Warehouse"
    assert landed_by("timestore_files", loaded) == {"land_readings", "land_tides", "land_waves", "land_winds"}
    assert loaded.executor is None, "the executor of a project is its own"


def test_own_io_manager_of_the_same_key_is_taken(project: Path) -> None:
    own = dg.FilesystemIOManager(base_dir=str(project))
    loaded = timestore_assets.defs(dg.Definitions(resources={"timestore_io": own}))
    assert (loaded.resources or {})["timestore_io"] is own


def test_commands_find_the_datasets_wherever_in_the_project_they_run(project: Path, tmp_path: Path) -> None:
    shell = CommandLine(tmp_path)
    del shell.environment["TIMESTORE_HOME"]
    shell.folder, shell.home = project / "src" / "station" / "defs", project / ".timestore"
    (shell.folder / "tide.csv").write_text("device,at,value\na,2024-01-01T00:00:00Z,1\n")
    assert shell.inside("land", "tides", "tide.csv").code == 0
    assert [row["rows"] for row in shell.inside("status", "--json").json["datasets"] if row["dataset"] == "tides"] == [1]
    assert (project / ".timestore" / "catalog.sqlite").exists()
    written = shell.inside("init", "tide.csv", "--name", "gauge", "--json").json
    assert Path(written["file"]) == project / "src" / "station" / "defs" / "gauge" / "defs.yaml"
    assert not any(command.startswith("export") for command in written["next"])
    taken = shell.inside("init", "tide.csv", "--name", "waves")
    assert (taken.code, "already declared" in taken.err) == (3, True)


def test_other_components_are_left_to_dagster_and_a_wrong_dataset_names_its_line(project: Path) -> None:
    folder = project / "src" / "station" / "defs" / "script"
    folder.mkdir()
    (folder / "defs.yaml").write_text(f"{OTHER}---\n{declared('gusts').replace('window: day', 'window: fortnight')}")
    with pytest.raises(DeclarationError, match=r"script/defs.yaml:14: window: is 'fortnight'"):
        timestore_assets.defs()


def test_a_project_is_told_by_its_files(project: Path, tmp_path: Path) -> None:
    found = project_around(project / "src" / "station")
    assert found is not None
    assert (found.root, found.definitions_module) == (project, "station.definitions")
    assert Settings.load().project_defs == found.defs_folder == project / "src" / "station" / "defs"
    other = tmp_path / "flat"
    other.mkdir()
    (other / "dg.toml").write_text('directory_type = "project"\n[project]\nroot_module = "flat"\ndefs_module = "flat.sets"\n')
    flat = project_around(other)
    assert flat is not None and (flat.definitions_module, flat.defs_folder) == ("flat.definitions", None)
    for number, text in enumerate(("[tool.black]\n", "[tool.dg]\ndirectory_type = 'workspace'\n", "tool.dg = broken")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "pyproject.toml").write_text(text)
        assert project_around(folder) is None


def test_what_dagster_loads_is_the_folders_own_first(project: Path, tmp_path: Path) -> None:
    assert workspace_of(tmp_path) == packaged_workspace(tmp_path)
    of_project = workspace_of(project / "src")
    assert of_project.arguments == ("-m", "station.definitions", "-d", str(project / "src"))
    assert of_project.folder == project and of_project.settings == packaged_workspace(project).settings
    for name in ("workspace.yaml", "dagster.yaml"):
        (project / name).write_text("")
    own = workspace_of(project)
    assert (own.arguments, own.settings) == (("-w", str(project / "workspace.yaml")), project / "dagster.yaml")


DG = Path(sys.executable).parent / "dg"


@pytest.mark.slow
@pytest.mark.skipif(not DG.exists(), reason="needs dagster-dg-cli")
def test_dg_lists_scaffolds_and_checks_the_component(project: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "DO_NOT_TRACK": "1",
        "VIRTUAL_ENV": str(DG.parents[1]),
        "PYTHONPATH": str(project / "src"),
    }

    def dg_does(*arguments: str) -> str:
        done = subprocess.run([DG, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (listed,) = json.loads(dg_does("list", "components", "--package", "timestore_assets", "--json"))["items"]
    assert listed["key"] == "timestore_assets.Dataset"
    assert "A time-series dataset" in listed["summary"]
    dg_does("scaffold", "defs", "timestore_assets.Dataset", "My-Meters")
    (written,) = (project / "src" / "station" / "defs").glob("My-Meters/defs.yaml")
    assert "name: my_meters\n" in written.read_text() and "# dedupe:" in written.read_text()
    assert "loaded successfully" in dg_does("check", "defs")
