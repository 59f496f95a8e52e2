"""`timestore retention`: a look by default, doing it when asked to, and setting what counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timestore_assets_tests.support.command_warehouse import CommandWarehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[CommandWarehouse]:
    made = CommandWarehouse.at(tmp_path, None, None, keep_versions_seconds=0)
    days = "".join(f"a,2024-01-{day:02}T01:00:00Z,1\n" for day in (1, 2, 3))
    made.run("land", "readings", made.here("days.csv", b"device,at,value\n" + days.encode()))
    yield made


def test_what_goes_is_said_before_it_goes(warehouse: CommandWarehouse) -> None:
    assert warehouse.line.inside("retention", "--all").out.strip() == "no dataset has a retention"
    (looked,) = warehouse.run("retention", "readings", "--max-age", "30d")
    assert (looked["dry_run"], looked["executed"]) == (True, False)
    assert [one["partition"] for one in looked["expired"]] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    table = warehouse.line.inside("retention", "--all").out
    assert "readings (30d): 3 partitions would expire" in table
    assert "nothing was changed" in table
    (done,) = warehouse.run("retention", "--all", "--execute")
    assert [one["rows"] for one in done["expired"]] == [1, 1, 1]
    assert warehouse.run("query", "readings") == []
    assert warehouse.run("gc")["superseded_segments"] == 3
    assert warehouse.run("retention", "--all", "--execute")[0]["expired"] == []


def test_what_was_set_is_taken_back(warehouse: CommandWarehouse) -> None:
    warehouse.run("retention", "readings", "--max-age", "30d", "--max-bytes", "1GB", "--keep-versions", "1d")
    assert "readings (30d, 1.0 GB, old versions for 1d)" in warehouse.line.inside("retention", "readings").out
    (back,) = warehouse.run("retention", "readings", "--unset")
    assert (back["retention"]["max_age"], back["expired"]) == (None, [])


def test_a_partition_that_expired_can_be_opened_again(warehouse: CommandWarehouse) -> None:
    warehouse.run("retention", "readings", "--max-age", "30d", "--execute")
    again = warehouse.here("again.csv", b"device,at,value\na,2024-01-02T05:00:00Z,1\n")
    assert warehouse.run("land", "readings", again)["counters"]["dead_letters"] == 1
    reopened = warehouse.run("retention", "readings", "--reopen", "2024-01-02")
    assert (reopened["dataset"], reopened["reopened"]) == ("readings", ["2024-01-02"])
    assert [line.startswith("timestore reload readings --file ") for line in reopened["land_again"]] == [True]
    assert warehouse.run("deadletters", "replay", "readings")["landed"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--all"),
        (["readings", "--all"], "--all"),
        (["readings", "--max-age", "soon"], "is not a duration"),
        (["readings", "--max-bytes", "much"], "write a size"),
        (["readings", "--tier", "cold"], "90d=cold"),
        (["readings", "--tier", "1d=nowhere"], "no storage target is named 'nowhere'"),
        (["readings", "--max-age", "1d", "--unset"], "leave the other options out"),
        (["readings", "--reopen", "2023-01-01"], "outside dataset"),
    ],
)
def test_what_can_not_be_meant(warehouse: CommandWarehouse, arguments: list[str], said: str) -> None:
    found = warehouse.line.inside("retention", *arguments)
    assert (found.code, said in found.err) == (2, True), found.err
