"""What a checker is told to pass over has its reason beside it: `# noqa: S603 - why`, `# type: ignore[misc] # why`."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import timestore_assets

CHECKOUT = Path(timestore_assets.__file__).parent.parent
IGNORE = re.compile(r"#\s*(ruff:\s*noqa|noqa|type:\s*ignore)")
WITH_REASON = re.compile(r"# ((ruff: )?noqa: [A-Z]+\d+(, [A-Z]+\d+)* - |type: ignore\[[a-z, -]+\] # )\w")


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_each_has_one() -> None:
    folders = ("timestore_assets", "timestore_assets_tests", "scripts", "benchmarks")
    paths = [path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")]
    ignores = [(path, line, text) for path in paths for line, text in comments(path) if IGNORE.match(text)]
    assert ignores
    assert [f"{path}:{line}: {text}" for path, line, text in ignores if not WITH_REASON.match(text)] == []
