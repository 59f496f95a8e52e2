"""What `dg scaffold defs` writes is a declaration that is accepted, whatever the folder is called."""

from __future__ import annotations

import re
from pathlib import Path

import click
import dagster as dg
import pytest

from timestore_assets.declaration.from_yaml import COMPONENT_TYPE, parse_declaration, parse_project_file
from timestore_assets.model.window import Window
from timestore_assets.orchestration.scaffold import DatasetScaffolder


def request(path: Path, *, append: bool = False, format: str = "yaml") -> dg.ScaffoldRequest:
    return dg.ScaffoldRequest(
        type_name=COMPONENT_TYPE, target_path=path, scaffold_format=format, project_root=None, params=None, append=append
    )


@pytest.mark.parametrize(
    ("folder", "name"),
    [("readings", "readings"), ("My-Meters", "my_meters"), ("2024 data", "dataset_2024_data"), ("Ä", "dataset")],
)
def test_a_folders_name_becomes_that_of_the_dataset(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    DatasetScaffolder().scaffold(request(tmp_path / folder))
    declared = parse_declaration((tmp_path / folder / "defs.yaml").read_text())
    assert (declared.name, declared.file_sources[0].prefix) == (name, f"inbox/{name}/")


def test_the_comment_beside_the_window_names_every_window(tmp_path: Path) -> None:
    DatasetScaffolder().scaffold(request(tmp_path))
    (line,) = [line for line in (tmp_path / "defs.yaml").read_text().splitlines() if line.strip().startswith("window:")]
    named = set(re.findall(r"\w+", line.partition("#")[2]))
    assert {window.value for window in Window} <= named


def test_another_component_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "meters" / "defs.yaml"
    file.parent.mkdir()
    file.write_text("type: other.Component\nattributes: {}\n")
    DatasetScaffolder().scaffold(request(file, append=True))
    assert [dataset.name for dataset in parse_project_file(file.read_text())] == ["meters"]


def test_python_is_refused_in_a_sentence_that_dg_prints(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="declared in YAML"):
        DatasetScaffolder().scaffold(request(tmp_path, format="python"))
