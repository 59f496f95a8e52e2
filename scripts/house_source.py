"""The modules of a package in a checkout, parsed; migrations apart."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@cache
def read_modules(root: Path, package: str) -> tuple[Module, ...]:
    found = []
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if "migrations" not in parts:
            found.append(Module(".".join(parts).removesuffix(".__init__"), path, path.read_text()))
    return tuple(found)
