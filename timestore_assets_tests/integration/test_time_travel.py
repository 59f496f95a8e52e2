"""Versions as a person means them: the page's example, commands, requests and Python, over rows that really landed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from timestore_assets.in_process import Timestore
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.doc_pages import DocPage
from timestore_assets_tests.support.http_service import serving

PAGE = DocPage("time-travel.md")
POWER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "watts": {"type": "double", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "window": "day",
    "sources": [{"files": {"prefix": "inbox/power/"}}],
}


def test_the_page_works_as_written(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    PAGE.write_files(line)
    shown = PAGE.type_commands(line)
    assert "as-landed is version 1 of power" in shown
    assert "Nothing was changed: this was a dry run." in shown
    assert "Version 3 of power shows the rows of version 1" in shown and "--to 2` goes forward again" in shown
    assert "Version 4 of power shows the rows of version 2" in shown
    listed = line.inside("tag", "power", "--json").json
    assert [(one["tag"], one["version"]) for one in listed["tags"]] == [("as-landed", 1)]
    assert line.inside("query", "power", "--as-of", "as-landed", "--json").code == 0
    for as_of in ("as-landed", "power=as-landed", "1"):
        rows = line.inside("sql", 'SELECT watts FROM power ORDER BY "at", watts', "--as-of", as_of, "--json").json
        assert rows == [{"watts": 5}, {"watts": 6}, {"watts": 7}]
    (day,) = line.inside("rollback", "power", "--to", "as-landed", "--dry-run", "--json").json["partitions"]
    assert (day["partition"], day["state"], day["segments_out"], day["segments_in"]) == ("2024-01-01", "open", 1, 1)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    PAGE.write_files(line)
    assert line.inside("init", "power.csv", "--name", "power", "--window", "day", "--yes").code == 0
    assert line.inside("land", "power", "power.csv").code == 0
    assert line.inside("tag", "power", "case", "--legal-hold").code == 0
    for arguments, code, said in (
        (("query", "power", "--as-of", "nothing"), 2, "has no tag 'nothing'; its tags: case"),
        (("query", "power", "--as-of", "2001-01-01"), 2, "there was no dataset 'power' at 2001-01-01"),
        (("query", "power", "--as-of", "ü"), 2, "is no version, time or tag"),
        (("sql", "SELECT * FROM power", "--as-of", "nothing"), 2, "has no tag 'nothing'; its tags: case"),
        (("sql", "SELECT * FROM power", "--as-of", "9"), 3, "no version 9; the newest is 1"),
        (("sql", "SELECT * FROM power", "--as-of", "power=1", "--as-of", "1"), 2, "or NAME=WHEN once for each"),
        (("sql", "SELECT 1", "--as-of", "power=1"), 2, "does not read 'power'"),
        (("rollback", "power", "--to", "9"), 3, "no version 9; the newest is 1"),
        (("tag", "power", "today"), 2, "no name for a tag"),
        (("tag", "power", "gone", "--delete"), 2, "has no tag 'gone'"),
        (("tag", "power", "case", "--delete"), 3, "is a legal hold; say --yes"),
        (("tag", "power", "two", "--version", "1", "--as-of", "now"), 2, "both say which version"),
        (("drop", "power", "--yes"), 3, "under legal hold by tag case"),
    ):
        done = line.inside(*arguments)
        assert (done.code, "Traceback" in done.err) == (code, False), (arguments, done.err)
        assert said in done.err, (arguments, done.err)
    assert line.inside("tag", "power", "case", "--delete", "--yes").code == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warehouse, httpx.Client]]:
    home = tmp_path_factory.mktemp("travel") / "home"
    with Warehouse.open(Settings(home=home)) as warehouse, serving(warehouse) as http:
        warehouse.declare("power", POWER, actor="test")
        for name, watts in (("a", 1), ("b", 2)):
            path = home / "inbox" / "power" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"at,watts\n2024-01-01,{watts}\n")
            warehouse.land("power", [path])
        with httpx.Client(base_url=http.url, timeout=60) as client:
            yield warehouse, client


def watts(client: httpx.Client, as_of: object = None, **body: object) -> list[float]:
    asked = {**body, **({} if as_of is None else {"asOf": as_of})}
    answer = client.post("/datasets/power/query", json=asked)
    assert answer.status_code == 200, answer.text
    return sorted(row["watts"] for row in answer.json()["rows"])


def test_over_http(served: tuple[Warehouse, httpx.Client]) -> None:
    warehouse, client = served
    tag = client.put("/datasets/power/tags/first", json={"version": 1, "note": "n"})
    assert tag.status_code == 200 and tag.json()["version"] == 1, tag.text
    assert client.get("/datasets/power/tags").json()["tags"] == [tag.json()]
    assert client.get("/datasets/power/tags/first").json() == tag.json()
    assert [watts(client, one) for one in (None, 1, "1", "first", "now", datetime.now(UTC).isoformat())] == [
        [1, 2], [1], [1], [1], [1, 2], [1, 2]
    ]  # fmt: skip
    page = client.post("/datasets/power/query", json={"asOf": "first", "pageSize": 1}).json()
    assert page["manifestVersion"] == 1 and page["nextCursor"] is None
    for asked, status in (("nothing", 422), ("ü", 422), (-1, 422), (99, 422)):
        assert client.post("/datasets/power/query", json={"asOf": asked}).status_code == status, asked
    assert client.put("/datasets/power/tags/first", json={"version": 2}).status_code == 409
    assert client.put("/datasets/power/tags/2015", json={}).status_code == 422
    assert client.get("/datasets/power/tags/none").status_code == 404
    for _ in warehouse.build("power", [found.partition for found in warehouse.partitions("power")], close=True):
        pass
    dry = client.post("/datasets/power/rollback", json={"to": "first", "dryRun": True, "andLandings": True}).json()
    assert (dry["dryRun"], dry["version"], dry["files"]) == (True, 4, ["b.csv"])
    back = client.post("/datasets/power/rollback", json={"to": "first"})
    assert back.status_code == 200 and back.json()["partitions"][0]["landedRows"] == 1, back.text
    assert watts(client) == [1, 2] and watts(client, "first") == [1]
    assert client.post("/datasets/power/rollback", json={"to": 77}).status_code == 403
    assert client.delete("/datasets/power/tags/first").status_code == 200
    assert client.delete("/datasets/power/tags/first").status_code == 404


def test_in_python(served: tuple[Warehouse, httpx.Client]) -> None:
    warehouse, _ = served
    here = Timestore(warehouse)
    warehouse.tag("power", "one", version=1, actor="test")
    for as_of in (1, "1", "one"):
        assert here.query("power", as_of=as_of).arrow().num_rows == 1
    assert here.query("power", as_of=datetime.now(UTC)).arrow().num_rows == 2
    assert warehouse.untag("power", "one", actor="test") is not None
