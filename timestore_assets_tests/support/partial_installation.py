"""Processes in which only some of the installed packages can be imported, as if the others had not been installed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
_HOOK = """
import importlib.metadata, json, os, sys

_HIDDEN = frozenset(json.loads(os.environ["HIDDEN_MODULES"]))

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in _HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def entry_points(**chosen):
    found = every_entry_point(**chosen)
    return importlib.metadata.EntryPoints(one for one in found if one.module.partition(".")[0] not in _HIDDEN)

sys.meta_path.insert(0, Hiding)
every_entry_point, importlib.metadata.entry_points = importlib.metadata.entry_points, entry_points
"""


def core_requirements() -> list[str]:
    """What `pip install .` without extras asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = project["project"]["dependencies"]
    return found


def environment_with(folder: Path, requirements: Iterable[str], environment: dict[str, str]) -> dict[str, str]:
    """The environment of processes, and of theirs, which find what these requirements bring with them and nothing else.

    `folder`: of a file that Python runs when it starts.
    """
    brought = _brought_by(requirements)
    hidden = [
        module
        for module, names in packages_distributions().items()
        if module.isidentifier() and not {canonicalize_name(name) for name in names} & {*brought, "timestore-assets"}
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_HOOK)
    path = os.pathsep.join([str(folder), environment.get("PYTHONPATH", str(ROOT))])
    return {**environment, "PYTHONPATH": path, "HIDDEN_MODULES": json.dumps(sorted(hidden))}


def _brought_by(requirements: Iterable[str]) -> set[str]:
    """The names of the packages that are installed with these, as far as they are here."""
    waiting = [(Requirement(text), "") for text in requirements]
    found: set[tuple[str, str]] = set()
    while waiting:
        requirement, asking = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": asking}):
            continue
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key not in found:
                found.add(key)
                waiting += [(Requirement(text), extra) for text in _requires(requirement.name)]
    return {name for name, _ in found}


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # of another platform, or for an extra that nobody installs
        return []
