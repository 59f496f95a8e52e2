"""The line that is given to people to look into a segment runs as it is, with whatever is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import duckdb
import pytest

from timestore_assets.segments.open_command import open_command

FOLDERS = ("plain", "it's $HOME")


def written(folder: Path, format: str) -> Path:
    folder.mkdir()
    path = folder / f"segment.{format}"
    with duckdb.connect(str(path) if format == "duckdb" else ":memory:") as con:
        con.execute("CREATE TABLE segment AS SELECT 4711 AS number")
        con.execute("CREATE VIEW readings AS FROM segment")
        if format == "parquet":
            con.sql("FROM segment").write_parquet(str(path))
    path.chmod(0o400)
    return path


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("format", ["duckdb", "parquet"])
def test_it_prints_rows(tmp_path: Path, name: str, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    command = open_command("readings", written(tmp_path / name, format), format=format)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert "4711" in done.stdout


@pytest.mark.parametrize(("format", "opened"), [("duckdb", "duckdb -readonly /a/b.duckdb -c "), ("parquet", "duckdb -c ")])
def test_duckdbs_own_shell_is_named_only_where_it_is(format: str, opened: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert open_command("readings", Path("/a/b.duckdb"), format=format).startswith(opened)
