"""Arrows between packages point down, and never in a circle: the picture of docs/architecture.md, whatever kind the import is."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "timestore_assets"

# What stands in one line may use its neighbours, but not in a circle.
LAYERS = """
    definitions
    cli  client  in_process
    orchestration  service  web
    alerting  lineage
    warehouse
    verbs
    dataset_registry  declarations  declaration_files  dataset_status  reload
    tailing  upkeep  migrating
    landing  building  querying
    decoding
    sources
    segments
    ownership
    catalog
    storage
    declaration
    model  settings  dagster_project  file_access  retry  tracing  secret_store  extras
    timestore_assets
"""
RANK = {name: rank for rank, line in enumerate(reversed(LAYERS.strip().splitlines())) for name in line.split()}
ALLOWED = {
    ("timestore_assets", "client"): "the package's face offers `TimestoreClient`, imported when it is asked for",
    ("timestore_assets", "in_process"): "the package's face offers `open`, likewise",
    ("timestore_assets", "orchestration"): "the package's face offers the component that a `defs.yaml` names, likewise",
}


@cache
def every_arrow(depth: int = 1) -> dict[tuple[str, str], list[str]]:
    """From package to package, with the imports that make the arrow: also those in functions and for types.

    `depth`: how many names below `timestore_assets` tell one package from another.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        source = above(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"), depth)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            modules = [f"{base}{alias.name}" for alias in node.names]
            for target in {above(module, depth) for module in modules if module.startswith("timestore_assets.")} - {source}:
                found.setdefault((source, target), []).append(f"{path.relative_to(PACKAGE)}:{node.lineno} → {target}")
    return found


def above(module: str, depth: int) -> str:
    """The package or module below `timestore_assets` that a dotted name belongs to; what the face itself has is the face's."""
    names = module.split(".")[1 : depth + 1]
    while names and not any(PACKAGE.joinpath(*names).with_suffix(ending).exists() for ending in ("", ".py")):
        names.pop()
    return ".".join(names) or "timestore_assets"


def arrows() -> dict[tuple[str, str], list[str]]:
    return {arrow: sites for arrow, sites in every_arrow().items() if arrow not in ALLOWED}


def test_every_package_has_its_place() -> None:
    assert {name for arrow in every_arrow() for name in arrow} <= RANK.keys()


def test_no_arrow_points_up() -> None:
    assert [site for (source, target), sites in arrows().items() if RANK[target] > RANK[source] for site in sites] == []


def test_packages_form_no_circle() -> None:
    uses: dict[str, set[str]] = {}
    for source, target in arrows():
        uses.setdefault(source, set()).add(target)
    TopologicalSorter(uses).prepare()


def test_packages_within_a_package_form_no_circle() -> None:
    uses: dict[str, set[str]] = {}
    for source, target in every_arrow(depth=2):
        if source.partition(".")[0] == target.partition(".")[0]:
            uses.setdefault(source, set()).add(target)
    TopologicalSorter(uses).prepare()


def test_the_client_knows_only_values() -> None:
    assert {target for source, target in arrows() if source == "client"} <= {"model"}


def test_no_exception_outlives_its_arrow() -> None:
    assert ALLOWED.keys() <= every_arrow().keys()
