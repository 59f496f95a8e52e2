"""The examples of the docs run: shell blocks in order in an empty folder, declarations through the parser, Python."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import QUIET
from timestore_assets_tests.support.doc_pages import DOCS, DocPage, pages

pytestmark = QUIET
PYPROJECT = """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "my_project"
"""

FIRST = DocPage("first-dataset.md")


def declarations() -> list[tuple[str, str]]:
    return [
        (page, text)
        for page in (str(path.relative_to(DOCS)) for path in pages())
        for text in DocPage(page).of("yaml")
        if "type: timestore" in text
    ]


@pytest.mark.parametrize(("page", "text"), declarations())
def test_declarations_in_the_docs_are_accepted(page: str, text: str) -> None:
    assert parse_declaration(text, file=page).name


def test_the_first_dataset_page_works_as_written(tmp_path: Path) -> None:
    folder = tmp_path / "my-warehouse" / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(FIRST.of("yaml")[0])
    script = "set -eu\n" + "\n".join(FIRST.of("sh"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "warm" in done.stdout
    assert "sealed" in done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Dagster project of the files that `python.md` gives, and the dataset of `first-dataset.md`; the working directory."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    files = dict(zip(("definitions.py", "defs/extremes.py", "defs/warmest.py"), DocPage("python.md").of("python"), strict=False))
    (files["defs/daily_extremes/defs.yaml"],) = DocPage("python.md").of("yaml")
    files["defs/readings/defs.yaml"] = FIRST.of("yaml")[0]
    for name, text in {**files, "__init__.py": "", "defs/__init__.py": ""}.items():
        path = tmp_path / "src" / "my_project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.delenv("TIMESTORE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


def test_the_python_examples_work_in_a_project_of_ones_own(project: Path) -> None:
    file = project / "readings.csv"
    rows = ("2024-03-01T00:00:00Z,kitchen,19.5", "2024-03-01T01:00:00Z,kitchen,21", "2024-03-02T00:00:00Z,cellar,9")
    file.write_text("\n".join(("at,sensor,celsius", *rows, "")))
    with Warehouse.open() as warehouse:
        assert warehouse.settings.home_folder == project / ".timestore"
        assert warehouse.land("readings", [file]).counters.landed == 3
    loaded = importlib.import_module("my_project.definitions").defs()
    dg.Definitions.validate_loadable(loaded)
    job = loaded.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for selection, partition in (("extremes", "2024-03-01"), ("warmest", None)):
            key = dg.AssetKey(selection)
            assert job.execute_in_process(asset_selection=[key], partition_key=partition, instance=instance).success
        seen = instance.get_latest_materialization_event(dg.AssetKey("warmest"))
    assert seen is not None and seen.asset_materialization is not None
    assert seen.asset_materialization.metadata["celsius"].value == "21.0"
    with Warehouse.open() as warehouse, warehouse.ask(Question(dataset="daily_extremes")) as answer:
        assert [(row["sensor"], row["low"], row["high"]) for row in answer.table().to_pylist()] == [("kitchen", 19.5, 21.0)]
    found: dict[str, Any] = {}
    exec(DocPage("python.md").of("python")[-1], found)
    assert found["monthly_means"]().column("count").to_pylist() == [3]


def test_generated_pages_are_current() -> None:
    sys.path.insert(0, str(DOCS.parent / "scripts"))
    try:
        import reference
    finally:
        sys.path.pop(0)
    assert (DOCS / "configuration.md").read_text() == reference.configuration(), "run `make reference`"
    assert (DOCS / "dataset-reference.md").read_text() == reference.dataset_reference(), "run `make reference`"
    assert (DOCS / "command-line-reference.md").read_text() == reference.command_line(), "run `make reference`"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "timestore_assets").symlink_to(DOCS.parent / "timestore_assets")
    shutil.copy(DOCS.parent / "zensical.toml", tmp_path)
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run([zensical, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Warning" not in built.stdout + built.stderr and "griffe:" not in built.stdout + built.stderr
    site = tmp_path / "build" / "site"
    written = sorted(str(page.relative_to(DOCS)) for page in pages())
    assert all((site / page).with_suffix(".html").exists() for page in written)
    named = re.findall(r'"([a-z0-9/-]+\.md)"', (DOCS.parent / "zensical.toml").read_text())
    assert sorted(named) == written, "each page once in the navigation"
    api = (site / "api.html").read_text()
    assert all(f'id="timestore_assets.{name}"' in api for name in ("client.TimestoreClient.ingest", "warehouse.Warehouse.land"))
    assert not re.search(r'(?:src|href)="https?://(?!zensical\.org)[^"]*\.(?:js|css|woff2?)"', api), (
        "nothing comes from another host"
    )
