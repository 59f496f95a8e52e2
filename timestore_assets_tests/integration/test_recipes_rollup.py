"""The recipe of an asset downstream: its asset, automation and check on a real instance, as the page has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import timestore_assets
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import QUIET
from timestore_assets_tests.support.doc_pages import DocPage
from timestore_assets_tests.support.readings_service import declare_readings

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:Parameter `automation_condition`")]
PAGE = DocPage("recipes/rollup.md")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    line = CommandLine(tmp_path)
    declare_readings(line)
    PAGE.write_files(line)
    monkeypatch.setenv("TIMESTORE_HOME", str(line.home))
    return line


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def definitions() -> dg.Definitions:
    """The page's own beside the datasets."""
    names: dict[str, Any] = {}
    exec(PAGE.file("hourly.py"), names)
    return timestore_assets.defs(names["defs"])


def test_the_figures_are_stored_checked_and_made_again(line: CommandLine, instance: dg.DagsterInstance) -> None:
    defs = definitions()
    job, hourly = defs.resolve_implicit_global_asset_job_def(), dg.AssetKey("hourly")

    def figures_of(first: int, last: int) -> dg.ExecuteInProcessResult:
        tags = {
            "dagster/asset_partition_range_start": f"2024-03-{first:02d}",
            "dagster/asset_partition_range_end": f"2024-03-{last:02d}",
        }
        done = job.execute_in_process(instance=instance, asset_selection=[hourly], tags=tags)
        assert done.success
        return done

    (check,) = figures_of(1, 7).get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.metadata["counted"].value) == ("every_reading_is_counted", True, 672)
    shown = PAGE.type_commands(line)
    assert "96" in shown
    more = line.folder / "late.csv"
    more.write_text("at,sensor,celsius\n2024-03-03T12:15:00Z,cellar,40\n")
    assert line.inside("land", "readings", str(more)).code == 0
    (check,) = figures_of(3, 3).get_asset_check_evaluations()
    assert (check.passed, check.metadata["counted"].value) == (True, 673)
    days = line.inside("query", "readings_hourly", "--every", "1d", "--agg", "max:highest,sum:n", "--json").json
    assert [list(day.values())[1:] for day in days[1:4]] == [[20.2, 96], [40.0, 97], [20.4, 96]]


def test_the_check_sees_what_is_missing(line: CommandLine, instance: dg.DagsterInstance) -> None:
    job = definitions().resolve_implicit_global_asset_job_def()
    selected: dict[str, Any] = {"instance": instance, "asset_selection": [dg.AssetKey("hourly")]}
    assert job.execute_in_process(**selected, partition_key="2024-03-05").success
    more = line.folder / "late.csv"
    more.write_text("at,sensor,celsius\n2024-03-05T12:15:00Z,cellar,40\n")
    assert line.inside("land", "readings", str(more)).code == 0
    assert job.execute_in_process(**selected, partition_key="2024-03-06").get_asset_check_evaluations()[0].passed is False


def test_a_day_that_is_built_asks_for_its_figures(line: CommandLine, instance: dg.DagsterInstance) -> None:
    defs = definitions()
    own = dg.AssetSelection.assets("hourly")
    cursor = dg.evaluate_automation_conditions(defs, instance, asset_selection=own).cursor
    instance.report_runless_asset_event(dg.AssetMaterialization("readings", partition="2024-03-02"))
    found = dg.evaluate_automation_conditions(defs, instance, asset_selection=own, cursor=cursor)
    assert found.total_requested == 1
    assert found.get_requested_partitions(dg.AssetKey("hourly")) == {"2024-03-02"}
