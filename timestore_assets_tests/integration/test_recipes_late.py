"""The recipe of late data: its commands, its sensor and its condition on a real instance, as the page has them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import timestore_assets
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import QUIET
from timestore_assets_tests.support.doc_pages import DocPage
from timestore_assets_tests.support.readings_service import declare_readings

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:Parameter `automation_condition`")]
PAGE = DocPage("recipes/late.md")
HOURS = dg.HourlyPartitionsDefinition("2024-03-01-00:00", end_date="2024-03-05-00:00", timezone="UTC")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    line = CommandLine(tmp_path)
    declare_readings(line)
    monkeypatch.setenv("TIMESTORE_HOME", str(line.home))
    return line


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def of_file(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(PAGE.file(name), name, "exec", dont_inherit=True), names)
    return names


def tell_dagster(instance: dg.DagsterInstance) -> None:
    with Warehouse.open(Settings.load()) as warehouse:
        drain(warehouse, instance)


def test_a_straggler_is_in_the_ledger_and_has_its_day_made_again(line: CommandLine, instance: dg.DagsterInstance) -> None:
    defs = timestore_assets.defs(of_file("corrections.py")["defs"])
    sensor = defs.resolve_sensor_def("make_again_for_changed_readings")
    assert line.inside("build", "readings").code == 0
    tell_dagster(instance)

    def look(cursor: str | None) -> dg.SensorExecutionData:
        with dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs, sensor_name=sensor.name) as context:
            return sensor.evaluate_tick(context)

    cursor = look(None).cursor
    shown = PAGE.type_commands(line)
    assert "corrected" in shown
    assert "2024-03-03" in shown
    tell_dagster(instance)
    (request,) = look(cursor).run_requests or []
    assert request.partition_key == "2024-03-03"
    done = defs.resolve_job_def("make_again").execute_in_process(instance=instance, partition_key=request.partition_key)
    (made,) = done.asset_materializations_for_node("warmest_of_the_day")
    assert made.metadata["celsius"].value == 40.0


def requested(condition: Any, instance: dg.DagsterInstance, events: Sequence[str]) -> list[str]:
    """Days that a daily asset below an hourly one is asked for when these are built again; each had some hours before."""

    @dg.asset(partitions_def=HOURS)
    def readings() -> None: ...

    days = dg.DailyPartitionsDefinition("2024-03-01", end_date="2024-03-05", timezone="UTC")

    @dg.asset(deps=[readings], partitions_def=days, automation_condition=condition)
    def daily() -> None: ...

    defs, own = dg.Definitions(assets=[readings, daily]), dg.AssetSelection.assets("daily")
    for day in range(1, 4):
        for hour in (0, 5):
            instance.report_runless_asset_event(dg.AssetMaterialization("readings", partition=f"2024-03-0{day}-{hour:02}:00"))
        instance.report_runless_asset_event(dg.AssetMaterialization("daily", partition=f"2024-03-0{day}"))
    cursor = dg.evaluate_automation_conditions(defs, instance, asset_selection=own).cursor
    for partition in events:
        instance.report_runless_asset_event(dg.AssetMaterialization("readings", partition=partition))
    found = dg.evaluate_automation_conditions(defs, instance, asset_selection=own, cursor=cursor)
    return sorted(found.get_requested_partitions(daily.key) or ())


def test_the_condition_asks_for_days_whose_hours_were_built_again_and_eager_does_not(instance: dg.DagsterInstance) -> None:
    logging.getLogger("dagster").setLevel(logging.ERROR)
    names = of_file("by_condition.py")
    again = ["2024-03-01-05:00", "2024-03-01-00:00", "2024-03-03-00:00"]
    assert requested(names["made_again"], instance, again) == ["2024-03-01", "2024-03-03"]
    eager = dg.AutomationCondition.eager()
    latest = dg.AutomationCondition.in_latest_time_window()
    for condition in (eager, eager.without(latest)):
        with dg.DagsterInstance.ephemeral() as other:
            assert requested(condition, other, again) == []


def test_the_page_s_asset_is_asked_for_by_its_condition(line: CommandLine, instance: dg.DagsterInstance) -> None:
    defs = timestore_assets.defs(of_file("by_condition.py")["defs"])
    own = dg.AssetSelection.assets("mean_of_the_day")
    for day in ("2024-03-02", "2024-03-03"):
        for asset in ("readings", "mean_of_the_day"):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day))
    cursor = dg.evaluate_automation_conditions(defs, instance, asset_selection=own).cursor
    for day in ("2024-03-02", "2024-03-04"):
        instance.report_runless_asset_event(dg.AssetMaterialization("readings", partition=day))
    found = dg.evaluate_automation_conditions(defs, instance, asset_selection=own, cursor=cursor)
    assert found.get_requested_partitions(dg.AssetKey("mean_of_the_day")) == {"2024-03-02"}, "a new day is left alone"
