"""Where peers come from: an environment of its own for each, and servers that Go builds, below a cache folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "chdb": ("chdb", "pyarrow"),
    "delta-rs": ("deltalake", "pyarrow"),
    "polars": ("polars", "pyarrow"),
    "dlt": ("dlt[duckdb,filesystem,deltalake,parquet]", "pyarrow"),
    "quixstreams": ("quixstreams", "pyarrow"),
}
"""What is installed into a peer's environment, newest as the package index has it. Others run in this project's own."""
SERVERS = {
    "influxdb": "github.com/influxdata/influxdb/cmd/influxd@v1.8.3",
    "victoriametrics": "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.136.23",
}
"""Commands that `go install` builds, of versions that can be built so."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a peer runs with, or why it doesn't run here."""

    python: str = sys.executable
    server: str | None = None
    missing: str | None = None


def environment(cache: Path, name: str, *, seconds: int = 1800) -> Environment:
    """The peer's, made on first use. What failed is remembered; remove the file that is named to try again."""
    noted = cache / f"{name}.missing.json"
    if noted.exists():
        return Environment(missing=json.loads(noted.read_text()))
    try:
        if name in PACKAGES:
            return Environment(python=_installed(cache / "environments" / name, PACKAGES[name], seconds))
        if name in SERVERS:
            return Environment(server=_built(cache / "bin", SERVERS[name], seconds))
    except (subprocess.SubprocessError, OSError) as error:
        why = _why(error)
        noted.write_text(json.dumps(why))
        print(f"{name} can't be had here: {why} ({noted} remembers it)", flush=True)
        return Environment(missing=why)
    return Environment()


def _installed(home: Path, packages: tuple[str, ...], seconds: int) -> str:
    python = str(home / "bin" / "python")
    done = home / ".installed"
    if done.exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
    subprocess.run(command, check=True, timeout=seconds, capture_output=True, text=True)
    done.touch()
    return python


def _built(folder: Path, source: str, seconds: int) -> str:
    target = folder / source.partition("@")[0].rpartition("/")[2]
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        environ = os.environ | {"GOBIN": str(folder)}
        subprocess.run(["go", "install", source], check=True, timeout=seconds, capture_output=True, text=True, env=environ)
    return str(target)


def _why(error: Exception) -> str:
    """One line of what went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in (error.stderr or "").splitlines() if line.strip()]
        wrong = [line for line in lines if "error" in line.lower() or "undefined" in line.lower()]
        return (wrong or lines or [f"the command ended with {error.returncode}"])[-1][:200]
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not installed"
    return str(error)[:200]
