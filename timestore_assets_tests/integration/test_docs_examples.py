"""The examples of the docs run: shell blocks in order in an empty folder, declarations through the parser, Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.model.declaration import parse_declaration
from timestore_assets.warehouse import Warehouse

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def declarations() -> list[tuple[str, str]]:
    return [(page.name, text) for page in sorted(DOCS.glob("*.md")) for text in blocks(page, "yaml") if "type: timestore" in text]


@pytest.mark.parametrize(("page", "text"), declarations())
def test_declarations_in_the_docs_are_accepted(page: str, text: str) -> None:
    assert parse_declaration(text, file=page).name


def test_the_first_dataset_page_works_as_written(tmp_path: Path) -> None:
    page = DOCS / "first-dataset.md"
    folder = tmp_path / "my-warehouse" / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(blocks(page, "yaml")[0])
    script = "set -eu\n" + "\n".join(blocks(page, "sh"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "warm" in done.stdout
    assert "sealed" in done.stdout


def test_the_python_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path))
    weather = tmp_path / "weather.csv"
    weather.write_text("origin,year,month,day,hour,time_hour,temp\nJFK,2013,1,1,1,2013-01-01T06:00:00Z,39.0\n")
    assets, resource, plain = blocks(DOCS / "python.md", "python")
    with Warehouse.open() as warehouse:
        assert warehouse.land("nyc_weather", [weather]).counters.landed == 1
    found: dict[str, Any] = {}
    exec(assets, found)
    assert found["daily_extremes"].key == dg.AssetKey("daily_extremes")
    exec(resource, found)
    exec(plain, found)
    assert found["monthly_delays"]().num_rows == 0


def test_generated_pages_are_current() -> None:
    sys.path.insert(0, str(DOCS.parent / "scripts"))
    try:
        import reference
    finally:
        sys.path.pop(0)
    assert (DOCS / "configuration.md").read_text() == reference.configuration(), "run `make docs`"
    assert (DOCS / "dataset-reference.md").read_text() == reference.dataset_reference(), "run `make docs`"
