"""The example of `docs/migrations.md` runs as it stands, and its manifest says what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.doc_pages import DocPage

PAGE = DocPage("migrations.md")


def test_the_example_runs(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    PAGE.write_files(line)
    shown = PAGE.type_commands(line)
    assert "dev renamed to room" in shown and "Nothing was done" in shown and "and deploy it:" in shown
    found = line.inside("query", "rooms", "--columns", "at,room,celsius,code", "--format", "json").out
    for room, celsius, code in (("hall", "10", "7"), ("hall", "20", "8"), ("loft", "5", "9")):
        assert f'"{room}"' in found and celsius in found and code in found
    assert line.inside("schema", "show", "rooms", "--json").json["version"] == 2


@pytest.mark.parametrize("kind", ["old", "new"])
def test_records_of_both_kinds_land_afterwards(tmp_path: Path, kind: str) -> None:
    line = CommandLine(tmp_path)
    PAGE.write_files(line)
    PAGE.type_commands(line)
    texts = {"old": "at,dev,temp,code\n2024-01-03,attic,59,1\n", "new": "at,room,celsius,code\n2024-01-03,attic,15,1\n"}
    (tmp_path / "more.csv").write_text(texts[kind])
    assert line.inside("land", "rooms", "more.csv").code == 0
    found = line.inside("sql", "SELECT celsius, code FROM rooms WHERE room = 'attic'", "--format", "json")
    assert found.code == 0 and '"celsius":15' in found.out.replace(" ", ""), found.out + found.err
