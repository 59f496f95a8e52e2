"""What to type to look into a segment's file: DuckDB's own shell where it is installed, else Python, which always is."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from timestore_assets.model.types import literal, quote


def open_command(dataset: str, path: Path, *, format: str) -> str:
    """A line for a shell that prints the first rows of a segment, and writes nothing to it."""
    is_database = format == "duckdb"
    if shutil.which("duckdb"):
        opened = ("duckdb", "-readonly", str(path)) if is_database else ("duckdb",)
        return shlex.join((*opened, "-c", f"FROM {quote(dataset) if is_database else literal(str(path))} LIMIT 5"))
    view = f"connect({str(path)!r}, read_only=True).view({dataset!r})" if is_database else f"read_parquet({str(path)!r})"
    code = f"import duckdb; duckdb.{view}.limit(5).show()"
    quoted = shlex.quote(code) if set(code) & set('"$`!\\') else f'"{code}"'  # the latter is easier to read
    return f"{shlex.quote(sys.executable)} -c {quoted}"
