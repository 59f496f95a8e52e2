"""`timestore backfills` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.asked_backfills import asked_to_rewrite_all
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import DECLARATION


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    """A home with three days of `readings` that were not built."""
    line = CommandLine(tmp_path)
    declared = line.home / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(DECLARATION, encoding="utf-8")
    rows = [f"a,2024-01-{day:02d}T00:00:00Z,{day}" for day in (1, 2, 3)]
    (tmp_path / "a.csv").write_text("\n".join(["device,at,value", *rows, ""]))
    assert line.inside("land", "readings", "a.csv").code == 0
    return line


def asked(shell: CommandLine) -> str:
    with Warehouse.open(Settings(home=shell.home)) as warehouse:
        return str(asked_to_rewrite_all(warehouse.catalog, "readings"))


def test_it_is_listed_approved_and_run(shell: CommandLine) -> None:
    assert shell.inside("backfills", "list").out == "No backfill is asked for or approved.\n"
    backfill = asked(shell)
    (found,) = shell.inside("backfills", "list", "readings", "--json").json
    assert (found["state"], found["done"], found["of"], found["cost"]["rows"]) == ("asked", 0, 3, 3)
    assert shell.inside("backfills", "run").out == "Nothing to do: no backfill is approved.\n"
    said = shell.inside("backfills", "approve", backfill)
    assert said.code == 0 and f"Backfill {backfill} is approved." in said.out and "backfills run" in said.out
    assert shell.inside("backfills", "approve", backfill, "--json").json == [
        {"id": int(backfill), "state": "approved", "changed": False}
    ]
    table = shell.inside("backfills", "list").out
    assert "0 of 3 partitions rewritten" in table and "a migration changed older rows (OPS-12)" in table
    (built,) = shell.inside("backfills", "run", "--json").json
    assert (built["dataset"], built["built"]) == ("readings", 3)
    assert shell.inside("backfills", "list", "--json").json == []
    (ended,) = shell.inside("backfills", "list", "--all", "--json").json
    assert (ended["state"], ended["done"], ended["of"]) == ("done", 3, 3)


def test_one_is_shown_with_what_is_left(shell: CommandLine) -> None:
    backfill = asked(shell)
    assert shell.inside("backfills", "show", backfill, "--json").json["left"] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    shell.inside("build", "readings", "--partition", "2024-01-02")
    shown = shell.inside("backfills", "show", backfill).out
    assert "1 of 3 partitions rewritten" in shown and "2024-01-01, 2024-01-03" in shown and "OPS-12" in shown


def test_a_build_does_it_too(shell: CommandLine) -> None:
    backfill = asked(shell)
    shell.inside("backfills", "approve", backfill)
    assert shell.inside("build", "readings", "--json").json["built"] == 3
    assert shell.inside("backfills", "show", backfill, "--json").json["state"] == "done"


def test_a_refused_one_is_not_run(shell: CommandLine) -> None:
    backfill = asked(shell)
    assert f"Backfill {backfill} is refused." in shell.inside("backfills", "refuse", backfill).out
    assert shell.inside("backfills", "run", "readings", "--json").json[0]["built"] == 0
    assert shell.inside("backfills", "list", "--json").json == []


def test_a_decision_that_comes_too_late_is_refused(shell: CommandLine) -> None:
    backfill = asked(shell)
    assert shell.inside("backfills", "done", backfill).code == 0
    late = shell.inside("backfills", "refuse", backfill)
    assert (late.code, f"backfill {backfill} is done, so it can't be refused any more" in late.err) == (3, True)


def test_an_unknown_one_is_named(shell: CommandLine) -> None:
    late = shell.inside("backfills", "approve", "77")
    assert (late.code, late.err.startswith("error: there is no backfill 77;")) == (2, True), late.err


def test_files_to_land_again_are_named_with_their_commands(shell: CommandLine) -> None:
    with Warehouse.open(Settings(home=shell.home)) as warehouse:
        _, record = warehouse.resolve("readings")
        cause = {"kind": "ignored_column", "column": "gust", "files": [{"address": "old days.csv"}]}
        made = warehouse.catalog.backfills.request(
            record.id, schema_version=1, cause=cause, cost={}, policy="ask", actor="tester"
        )
    said = shell.inside("backfills", "approve", str(made)).out
    assert "timestore reload readings --file 'old days.csv'" in said and "Dagster" not in said
    (found,) = shell.inside("backfills", "list", "--json").json
    assert (found["summary"], found["why"]) == (
        "0 of 1 file landed again",
        "column gust was ignored when older records landed",
    )
