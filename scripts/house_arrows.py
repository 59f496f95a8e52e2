"""Who imports whom in the package: arrows upward, circles, modules with one importer, private names across modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from house_source import Module, read_modules

# From the bottom up; what stands in one line stands side by side. Names of earlier layouts do no harm.
LAYERS = """
model extras retry secret_store file_access dagster_project tracing settings
declaration
storage
catalog
ownership
segments
sources
decoding
landing building querying
tailing upkeep migrating
declarations declaration_files dataset_registry dataset_status reload overview reloading
verbs
warehouse
alerting lineage
orchestration service web
cli in_process
definitions defs
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}
# Stands apart: it may import as if it stood beside the first, and may be imported from the second up.
APART = {"client": ("declaration", "cli")}
# The package itself: who imports any of its modules has imported this one, so it stands lowest.
FACE = ""
Graph = Mapping[str, Set[str]]


@dataclass(frozen=True, order=True)
class Arrow:
    source: str
    target: str
    # "run time", "in a function" or "type checking"
    when: str


def arrows(root: Path, package: str) -> list[Arrow]:
    """All imports of one module of the package by another, names without the package's."""
    modules = read_modules(root, package)
    known = {module.name for module in modules}
    inside = f"{package}."
    return [
        Arrow(module.name.removeprefix(package).lstrip("."), target.removeprefix(package).lstrip("."), when)
        for module in modules
        for target, when in sorted({found for found in _imports(module, known) if found[0] != module.name})
        if f"{target}.".startswith(inside)
    ]


def figures(root: Path, package: str) -> dict[str, str]:
    every = arrows(root, package)
    importers = defaultdict(set)
    for arrow in every:
        if arrow.when != "type checking":
            importers[arrow.target].add(arrow.source)
    upward, unknown = [a for a in every if is_upward(a)], unknown_packages(every)
    private = private_names(root, package)
    return {
        "import circles at run time (files in each)": _sizes(circles(graph(a for a in every if a.when != "type checking"))),
        "… counting imports for types": _sizes(circles(graph(every))),
        "import circles between packages": _sizes(circles(graph(every, by=_top))),
        "… between the packages inside them": _sizes(circles(graph(every, by=_package))),
        "arrows upward between packages": f"{len(upward)} ({len({(_top(a.source), _top(a.target)) for a in upward})} pairs)",
        "packages the layers don't know": ", ".join(sorted(unknown)) or "0",
        "private names imported across modules": str(len(private)),
        "modules imported by exactly one other": str(sum(len(found) == 1 for found in importers.values())),
    }


def is_upward(arrow: Arrow) -> bool:
    source, target = _top(arrow.source), _top(arrow.target)
    if source == target or target == FACE:
        return False
    above = APART[source][0] if source in APART else source
    below = APART[target][1] if target in APART else target
    return RANK.get(below, 0) > (-1 if source == FACE else RANK.get(above, len(RANK)))


def unknown_packages(every: list[Arrow]) -> set[str]:
    return {_top(name) for arrow in every for name in (arrow.source, arrow.target)} - RANK.keys() - APART.keys() - {FACE}


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node, by Tarjan."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for following in graph.get(node, ()):
            if following not in index:
                visit(following)
            if following in stack:
                low[node] = min(low[node], low[following])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def private_names(root: Path, package: str) -> list[str]:
    """`from package.module import _name` and `module._name`, as `importer: name`."""
    modules = read_modules(root, package)
    known = {module.name for module in modules}
    found = set()
    for module in modules:
        aliases = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
                found |= {f"{module.name}: {alias.name}" for alias in node.names if _is_private(alias.name)}
                aliases |= {alias.asname or alias.name for alias in node.names if f"{node.module}.{alias.name}" in known}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
                found |= {f"{module.name}: {node.value.id}.{node.attr}"} if _is_private(node.attr) else set()
    return sorted(found)


def _imports(module: Module, known: Set[str]) -> Iterator[tuple[str, str]]:
    def walk(node: ast.AST, when: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield from ((full if (full := f"{base}.{alias.name}") in known else base, when) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (found for part in node.body for found in walk(part, "type checking"))
            yield from (found for part in node.orelse for found in walk(part, when))
        else:
            inner = "in a function" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else when
            yield from (found for part in ast.iter_child_nodes(node) for found in walk(part, inner))

    return walk(module.tree, "run time")


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + (module.path.stem == "__init__")]
    return ".".join([*kept, *([node.module] if node.module else [])])


def graph(every: Iterator[Arrow] | list[Arrow], by: object = None) -> dict[str, set[str]]:
    named = by if callable(by) else str
    found = defaultdict(set)
    for arrow in every:
        if arrow.target != FACE and named(arrow.source) != named(arrow.target):
            found[named(arrow.source)].add(named(arrow.target))
    return dict(sorted(found.items()))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _package(name: str) -> str:
    """`landing.files` for a module that lies in it; a module beside such packages stands for itself."""
    return ".".join(name.split(".")[:2])


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _sizes(found: list[list[str]]) -> str:
    if not found:
        return "0"
    named = "; ".join("↔".join(circle) if len(circle) < 4 else f"{len(circle)} from {circle[0]}" for circle in found[:3])
    return f"{len(found)} ({', '.join(str(len(circle)) for circle in found)}): {named}"
