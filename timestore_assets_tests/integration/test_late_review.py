"""What is held for being late, looked at and decided about: by command and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.model.dataset import Access, KafkaSource, Late
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.http_service import WEATHER, HttpService, service
from timestore_assets_tests.support.late_records import hold

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: meters
  columns:
    at: {type: timestamp}
    meter: {type: string}
  time: at
  start: 2024-01-01
  late: {policy: hold}
  sources:
    - kafka: {topic: power, format: json}
"""
POWER = replace(
    WEATHER,
    name="power",
    sources=(KafkaSource(topics=("power",)),),
    late=Late(policy="hold"),
    access=Access(read=("power:read",)),
)


def reading(day: str, meter: str) -> str:
    return f'{{"at": "{day}", "meter": "{meter}"}}'


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    line = CommandLine(tmp_path)
    declaration = line.home / "defs" / "meters" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(DECLARATION)
    with Warehouse.open(Settings(home=line.home)) as warehouse:
        hold(warehouse, "meters", reading("2024-02-01", "now"), reading("2024-01-05", "old"), reading("2024-01-05T01:00", "old"))
        hold(warehouse, "meters", reading("2024-01-07", "other"), offset=3)
    return line


def meters(line: CommandLine) -> list[str]:
    return [row["meter"] for row in line.inside("sql", 'SELECT meter FROM meters ORDER BY "at"', "--json").json]


def counters(line: CommandLine) -> dict[str, int]:
    (source,) = line.inside("status", "meters", "--json").json["datasets"][0]["sources"]
    assert source["read"] == sum(source[name] for name in ("landed", "duplicates", "late_dropped", "held", "dead_letters"))
    return {name: source[name] for name in ("landed", "late_dropped", "held")}


def held(line: CommandLine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = line.inside("late", "review", "meters", "--json").json
    return found


def test_what_is_held_is_listed_by_batch_with_its_first_records(line: CommandLine) -> None:
    first, second = held(line)
    assert (first["records"], second["records"]) == (2, 1)
    assert [(one["partition"], one["rows"]) for one in first["partitions"]] == [("2024-01-05", 2)]
    assert second["samples"] == [reading("2024-01-07", "other")]
    shown = line.inside("late", "review", "meters").out
    assert "2024-01-05 (2)" in shown
    assert f"timestore late accept meters --batch {first['batch']}" in shown


def test_an_accepted_batch_lands_once_and_the_others_stay(line: CommandLine) -> None:
    first, second = (one["batch"] for one in held(line))
    report = line.inside("late", "accept", "meters", "--batch", str(first), "--json").json
    assert (report["landed"], report["files"], report["partitions"]) == (2, 1, ["2024-01-05"])
    assert meters(line) == ["old", "old", "now"]
    assert counters(line) == {"landed": 3, "late_dropped": 0, "held": 1}
    assert [one["batch"] for one in held(line)] == [second]
    again = line.inside("late", "accept", "meters", "--batch", str(first))
    assert (again.code, meters(line)) == (2, ["old", "old", "now"])
    assert "holds no batch" in again.err
    assert line.inside("late", "accept", "meters", "--all", "--json").json["landed"] == 1
    assert counters(line) == {"landed": 4, "late_dropped": 0, "held": 0}
    assert "meters holds nothing." in line.inside("late", "review", "meters").out


def test_a_refused_batch_is_dropped_and_stays_a_dead_letter(line: CommandLine) -> None:
    first, _ = (one["batch"] for one in held(line))
    assert line.inside("late", "refuse", "meters", "--batch", str(first), "--json").json == {
        "dataset": "meters",
        "late_dropped": 2,
    }
    assert counters(line) == {"landed": 1, "late_dropped": 2, "held": 1}
    assert len(line.inside("deadletters", "show", "meters", "--kind", "late_dropped", "--json").json) == 2
    assert line.inside("late", "accept", "meters", "--all", "--json").json["landed"] == 1
    assert meters(line) == ["other", "now"]


def test_the_ledger_says_what_came_late(line: CommandLine) -> None:
    found = line.inside("late", "meters", "--json").json
    assert [(one["partition"], one["disposition"], one["rows"]) for one in found] == [
        ("2024-01-05", "held", 2),
        ("2024-01-07", "held", 1),
    ]
    assert line.inside("late", "show", "meters", "--partition", "2024-01-07", "--json").json == [found[1]]
    shown = line.inside("late", "meters").out
    assert "how late" in shown
    assert "timestore late review meters" in shown
    assert "Nothing came late to meters in 2024-01-06." in line.inside("late", "meters", "--partition", "2024-01-06").out


@pytest.mark.parametrize("arguments", [(), ("--all", "--batch", "1")])
def test_which_batches_has_to_be_said(line: CommandLine, arguments: Sequence[str]) -> None:
    done = line.inside("late", "refuse", "meters", *arguments)
    assert (done.code, "--batch ID" in done.err) == (2, True)
    assert len(held(line)) == 2


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpService]:
    with service(tmp_path / "home", {"power": POWER}) as opened:
        yield opened


def power(day: str, station: str) -> str:
    return f'{{"ts": "{day}", "station": "{station}"}}'


def test_held_records_are_reviewed_over_http(http: HttpService) -> None:
    hold(http.warehouse, "power", power("2024-02-02", "now"), power("2024-01-05", "a"), power("2024-01-06", "b"))
    hold(http.warehouse, "power", power("2024-01-05", "c"), offset=3)
    page = http.client.get("/admin/datasets/power/late/held", params={"samples": 1}).json()
    first, second = page["held"]
    assert (page["batches"], first["records"], second["records"]) == (2, 2, 1)
    assert [one["partition"] for one in first["partitions"]] == ["2024-01-05", "2024-01-06"]
    assert first["samples"] == [power("2024-01-05", "a")]
    answer = http.client.post("/admin/datasets/power/late/accept", json={"batches": [first["batch"]]})
    assert (answer.status_code, answer.json()["landed"]) == (200, 2)
    gone = http.client.post("/admin/datasets/power/late/refuse", json={"batches": [first["batch"]]})
    assert (gone.status_code, "holds no batch" in gone.json()["detail"]) == (422, True)
    refused = http.client.post("/admin/datasets/power/late/refuse", json={})
    assert (refused.status_code, refused.json()["lateDropped"]) == (200, 1)
    (source,) = http.client.get("/datasets/power/status").json()["sources"]
    assert (source["landed"], source["lateDropped"], source["held"]) == (3, 1, 0)


def test_the_ledger_is_given_page_by_page(http: HttpService) -> None:
    hold(http.warehouse, "power", *(power(f"2024-01-{day:02}", "a") for day in (3, 4, 4, 9)))
    one = http.client.get("/datasets/power/late", params={"limit": 2}).json()
    assert [(cell["partition"], cell["disposition"], cell["rows"]) for cell in one["late"]] == [
        ("2024-01-03", "held", 1),
        ("2024-01-04", "held", 2),
    ]
    two = http.client.get("/datasets/power/late", params={"cursor": one["nextCursor"]}).json()
    assert ([cell["partition"] for cell in two["late"]], two["nextCursor"]) == (["2024-01-09"], None)
    only = http.client.get("/datasets/power/late", params={"partition": "2024-01-04"}).json()["late"]
    assert only == [one["late"][1]]
    assert http.client.get("/datasets/power/late", params={"partition": "soon"}).status_code == 422
    assert http.client.get("/datasets/nothing/late").status_code == 404
