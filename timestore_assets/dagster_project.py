"""The Dagster project (of `dg`) around a folder, read from its `dg.toml` or `pyproject.toml`; no Dagster is imported."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class DagsterProject:
    """A folder that `dg` takes for a project."""

    root: Path
    definitions_module: str
    """What Dagster loads of it, such as `my_project.definitions`."""
    defs_folder: Path | None
    """Where its components lie, such as `src/my_project/defs`; None when there is no such folder."""


@cache
def project_around(folder: Path) -> DagsterProject | None:
    """The project that a folder is the root of or lies in, the innermost; None in no project.

    A file that can't be read, or is no TOML, makes no project: what is wrong with it is for `dg` to say.
    """
    for root in (folder, *folder.parents):
        found = _config(root / "dg.toml") or _config(root / "pyproject.toml", "tool", "dg")
        if found is not None and found.get("directory_type") == "project":
            return _project(root, found.get("project"))
    return None


def _config(path: Path, *keys: str) -> Mapping[str, Any] | None:
    """The table at these keys of a TOML file, if it is there."""
    try:
        text = path.read_text(encoding="utf-8")
        table: Any = tomllib.loads(text) if not keys or ".".join(keys) in text else {}
    except (OSError, ValueError):  # TOML's and Unicode's errors are ValueErrors
        return None
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None


def _project(root: Path, table: Any) -> DagsterProject | None:
    root_module = table.get("root_module") if isinstance(table, dict) else None
    if not isinstance(root_module, str):
        return None
    return DagsterProject(
        root=root,
        definitions_module=str(table.get("code_location_target_module") or f"{root_module}.definitions"),
        defs_folder=_folder_of(root, str(table.get("defs_module") or f"{root_module}.defs")),
    )


def _folder_of(root: Path, module: str) -> Path | None:
    """A package's folder in the two places where `dg` looks for it."""
    folders = (base.joinpath(*module.split(".")) for base in (root / "src", root))
    return next((folder for folder in folders if folder.is_dir()), None)
