"""How large the files, functions, constructors and values of the package are, and what its lines are spent on."""

from __future__ import annotations

import ast
import io
import math
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from house_source import Module, read_modules

Function = ast.FunctionDef | ast.AsyncFunctionDef
WIDE_CONSTRUCTOR = 8
MODELS = {"BaseModel", "BaseSettings", "RootModel"}


def shape(root: Path, package: str, tests: str) -> dict[str, str]:
    modules = read_modules(root, package)
    source_lines = sum(len(module.lines) for module in modules)
    test_lines = sum(len(module.lines) for module in read_modules(root, tests))
    return {
        **_files(modules),
        **_functions(modules),
        **_complexity(modules),
        **_arguments(modules),
        **_values(modules),
        **_prose(modules, source_lines),
        "import lines, multi-line ones whole": _share(sum(_import_lines(module.tree) for module in modules), source_lines),
        "… by their first lines, at the top of files": _share(sum(_top_imports(module) for module in modules), source_lines),
        "`name=name` forwarding lines": _share(sum(len(_forwarding(module.tree)) for module in modules), source_lines),
        "test : source lines": f"{test_lines / source_lines:.2f} ({test_lines:,} : {source_lines:,})",
        "file names used more than once": _twice([m.path.stem for m in modules if not m.path.stem.startswith("__")]),
        "class names used more than once": _twice([c.name for m in modules for c in m.tree.body if isinstance(c, ast.ClassDef)]),
    }


# --- sizes


def _files(modules: Sequence[Module]) -> dict[str, str]:
    sizes = sorted(len(module.lines) for module in modules)
    return {
        "files / lines": f"{len(sizes)} / {sum(sizes):,}",
        "median / p90 / longest file": f"{statistics.median(sizes):g} / {_p90(sizes)} / {sizes[-1]}",
        "files under 60 lines": _share(sum(size < 60 for size in sizes), len(sizes)),
    }


def _functions(modules: Sequence[Module]) -> dict[str, str]:
    sizes = sorted((function.end_lineno or 0) - function.lineno + 1 for module in modules for function in _all(module.tree))
    long = sum(size > 50 for size in sizes)
    return {
        "median / p90 function, share > 50 lines": f"{statistics.median(sizes):g} / {_p90(sizes)} / {_share(long, len(sizes))}"
    }


def _arguments(modules: Sequence[Module]) -> dict[str, str]:
    counts = sorted(_arity(function) for module in modules for function in _all(module.tree))
    explicit, unfrozen = [], []
    for node in (node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)):
        initial = [_arity(part) for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        explicit += [count for count in initial if count >= WIDE_CONSTRUCTOR]
        if _is_dataclass(node) and not _is_frozen(node) and len(_fields(node)) >= WIDE_CONSTRUCTOR:
            unfrozen.append(len(_fields(node)))
    return {
        "arguments per function, median / p90": f"{statistics.median(counts):g} / {_p90(counts)}",
        # A frozen dataclass is a value, whose width has a line of its own; one that changes is an object at work.
        f"constructors (`__init__`) with {WIDE_CONSTRUCTOR} arguments or more": _counted(explicit),
        f"dataclasses not frozen with {WIDE_CONSTRUCTOR} fields or more": _counted(unfrozen),
    }


def _values(modules: Sequence[Module]) -> dict[str, str]:
    classes = [node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    models = set(MODELS)
    while grown := {node.name for node in classes if _bases(node) & models} - models:
        models |= grown
    widths = [(len(_fields(node)), node.name) for node in classes if _is_dataclass(node) or node.name in models]
    return {"widest values (own fields)": ", ".join(f"{width} `{name}`" for width, name in sorted(widths, reverse=True)[:4])}


# --- complexity, by radon's rules: a closure's decisions count for nobody, a class is the average of its methods


def _complexity(modules: Sequence[Module]) -> dict[str, str]:
    blocks = [block for module in modules for block in _blocks(module.tree)]
    worse = sorted((count for count in blocks if count > 10), reverse=True)
    return {
        "mean cyclomatic complexity": f"{statistics.mean(blocks):.2f}",
        "blocks rated C or worse": f"{_share(len(worse), len(blocks))}; worst {', '.join(map(str, worse[:4]))}",
    }


def _blocks(tree: ast.AST) -> Iterator[int]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield _decisions_in(node.body) + 1
        elif isinstance(node, ast.ClassDef):
            methods = [_decisions_in(part.body) + 1 for part in node.body if isinstance(part, Function)]
            whole = 1 + sum(methods) + _decisions_in([part for part in node.body if not isinstance(part, Function)])
            yield whole // len(methods) + (len(methods) > 1) if methods else whole
            yield from methods
        else:
            yield from _blocks(node)


def _decisions_in(nodes: Sequence[ast.AST]) -> int:
    return sum(map(_decisions, nodes))


def _decisions(node: ast.AST) -> int:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return 0
        case ast.Assert():
            return 1
        case ast.Try() | ast.TryStar():
            own = len(node.handlers) + bool(node.orelse)
        case ast.BoolOp():
            own = len(node.values) - 1
        case ast.If() | ast.IfExp():
            own = 1
        case ast.For() | ast.While() | ast.AsyncFor():
            own = 1 + bool(node.orelse)
        case ast.comprehension():
            own = 1 + len(node.ifs)
        case ast.Match():
            own = len(node.cases) - any(getattr(case.pattern, "pattern", False) is None for case in node.cases)
        case _:
            own = 0
    return own + _decisions_in([*ast.iter_child_nodes(node)])


# --- what lines are spent on


def _prose(modules: Sequence[Module], lines: int) -> dict[str, str]:
    functions = [each for module in modules for each in _all(module.tree) if not each.name.startswith("_")]
    told = sum(ast.get_docstring(function) is not None for function in functions)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for module in modules for node in ast.walk(module.tree) if isinstance(node, documented)]
    docstrings = sum(_lines(node.body[0]) for node in nodes if ast.get_docstring(node, clean=False) is not None)
    comments = sum(_own_comments(module.text) for module in modules)
    return {
        "public functions with docstring": _share(told, len(functions)),
        "docstring / own-line comment lines": f"{_share(docstrings, lines)} / {_share(comments, lines)}",
    }


def _own_comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip() for token in tokens)


def _import_lines(tree: ast.Module) -> int:
    return sum(_lines(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _top_imports(module: Module) -> int:
    return sum(isinstance(node, ast.Import | ast.ImportFrom) for node in module.tree.body)


def _forwarding(tree: ast.Module) -> set[int]:
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return {node.lineno for node in keywords if isinstance(node.value, ast.Name) and node.value.id == node.arg}


# --- small


def _all(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _arity(function: Function) -> int:
    """Arguments but for `self`, `cls` and the like; `*rest` and `**options` are one each."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def _decorator(node: ast.ClassDef) -> ast.expr | None:
    named = ((each.func if isinstance(each, ast.Call) else each, each) for each in node.decorator_list)
    return next((each for name, each in named if ast.unparse(name).split(".")[-1] == "dataclass"), None)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return _decorator(node) is not None


def _is_frozen(node: ast.ClassDef) -> bool:
    made = _decorator(node)
    return isinstance(made, ast.Call) and any(k.arg == "frozen" and ast.unparse(k.value) == "True" for k in made.keywords)


def _bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base.value if isinstance(base, ast.Subscript) else base).split(".")[-1] for base in node.bases}


def _fields(node: ast.ClassDef) -> list[str]:
    annotated = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
    return [ast.unparse(part.target) for part in annotated if "ClassVar" not in ast.unparse(part.annotation)]


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _p90(ordered: Sequence[int]) -> int:
    return ordered[math.ceil(len(ordered) * 0.9) - 1]


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%} ({part:,})"


def _counted(counts: Sequence[int]) -> str:
    return f"{len(counts)} ({', '.join(map(str, sorted(counts, reverse=True)))})" if counts else "0"


def _twice(names: Sequence[str]) -> str:
    many = sorted(((count, name) for name, count in Counter(names).items() if count > 1), key=lambda each: (-each[0], each[1]))
    return f"{len(many)}" + (f" ({', '.join(f'{name} ×{count}' for count, name in many[:4])})" if many else "")
