"""What the docs name is there (modules, functions, tests, pages, headings), and so is what docstrings cite of the docs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from timestore_assets_tests.unit.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "timestore_assets", ROOT / "timestore_assets_tests"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
MODULE = re.compile(r"(?<![\w/.<{-])([a-z_]+(?:/[a-z_0-9]+)+)(?:\.py\b)?(?:\.([A-Za-z_]\w*(?:\.\w+)*))?")

MADE_UP = {"sources/tcp/lines", "landing/sockets/connection_session", "service/query/gaps_route"}
"""Named by the examples of CONTRIBUTING."""


@cache
def folders() -> frozenset[str]:
    """What paths of ours begin with."""
    return frozenset(path.name for home in (PACKAGE, TESTS) for path in home.iterdir() if path.is_dir() and path.name[0] != "_")


def is_there(path: str, name: str | None) -> bool:
    """Whether a module or folder is there, and in a module what is named of it."""
    for home in (PACKAGE, TESTS, ROOT):
        file = home / f"{path}.py"
        if file.exists():
            text = file.read_text()
            return all(re.search(rf"\b{part}\b", text) for part in (name or "").split(".") if part)
        if (home / path).exists():
            return True
    return False


def anchors(page: Path) -> set[str]:
    """Names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    spoken = text if page.name == "architecture.md" else " ".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))
    named = {(path, name) for path, name in MODULE.findall(spoken) if path.split("/")[0] in folders() and path not in MADE_UP}
    assert [f"{path} {name}" for path, name in sorted(named) if not is_there(path, name or None)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, heading in LINK.findall(FENCE.sub("", page.read_text())):
        found = (page.parent / target) if target else page
        assert found.exists(), target
        if heading:
            assert heading in anchors(found), f"{target}#{heading}"


def test_what_the_code_cites_of_the_docs_is_there() -> None:
    invariants = set(re.findall(r"^### (I\d+)\.", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    decisions = set(re.findall(r"^### (D\d+)\.", (ROOT / "docs" / "decisions.md").read_text(), re.MULTILINE))
    assert len(invariants) == 10
    for path in [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")]:
        text = path.read_text()
        assert set(re.findall(r"(?<![\w\"'{])I(?:10|[1-9])(?=[,:) ])", text)) <= invariants, path
        assert set(re.findall(r"\bdecision (D\d+)", text)) <= decisions, path
        pages = re.findall(r"(?<![/\w])docs/((?:recipes/)?[a-z0-9-]+\.md)(?:, (\w[\w ]*))?", text)
        assert [page for page, _ in pages if not (ROOT / "docs" / page).exists()] == [], path
        assert not re.search(r"\b(DESIGN|SEMANTICS) §\d", text), path


def test_the_picture_of_the_layers_is_the_one_that_is_tested() -> None:
    picture = (ROOT / "docs" / "architecture.md").read_text().split("## Layers")[1].split("```")[1]
    drawn = [{name.strip(" /") for name in line.strip().split("  ")[0].split("·")} for line in picture.strip().splitlines()]
    assert drawn == [set(line.split()) for line in LAYERS.strip().splitlines()]


def test_lines_of_the_pages_that_explain_the_code_are_short() -> None:
    for name in ("docs/architecture.md", "docs/decisions.md", "CONTRIBUTING.md"):
        assert [line for line in (ROOT / name).read_text().splitlines() if len(line) > 130] == [], name
