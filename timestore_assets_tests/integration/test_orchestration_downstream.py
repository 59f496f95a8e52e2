"""What people made of a dataset is made again for exactly the partitions whose content has changed: a real downstream asset."""

# No `from __future__ import annotations` here: Dagster reads the annotations of what it decorates and takes no strings.

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import timestore_assets
from timestore_assets.model.errors import InputError
from timestore_assets.orchestration.changed_partitions import Overlap, Place
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, DagsterDeployment, dagster_deployment

pytestmark = QUIET
DAILY = dg.DailyPartitionsDefinition("2024-01-01", timezone="UTC", end_offset=1)
YEAR_DAYS = int(os.environ.get("TIMESTORE_LATE_DAYS", "10"))
"""Late records of the year's test, half a second of one core each; 365 are a year."""
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class Downstream:
    """A daily asset of somebody's below `readings`, its job, and the sensor that has it made again."""

    ground: DagsterDeployment
    warehouse: Warehouse
    first_builds: bool = False
    cursor: str | None = None
    made: list[str] = field(default_factory=list)
    """Partitions that its runs have made, in order."""

    @cached_property
    def definitions(self) -> dg.Definitions:
        made = self.made

        @dg.asset(deps=["readings"], partitions_def=DAILY)
        def daily(context: dg.AssetExecutionContext) -> None:
            made.append(context.partition_key)

        job = dg.define_asset_job("make_daily", selection=["daily"])
        sensor = timestore_assets.changed_partitions_sensor(asset="readings", job=job, first_builds=self.first_builds)
        own = dg.Definitions(assets=[daily], jobs=[job], sensors=[sensor])
        return dg.Definitions.merge(self.ground.definitions, own)

    def look(self) -> list[dg.RunRequest]:
        """One tick of the sensor."""
        sensor = self.definitions.resolve_sensor_def("make_daily_for_changed_readings")
        with dg.build_sensor_context(
            instance=self.ground.instance, cursor=self.cursor, definitions=self.definitions, sensor_name=sensor.name
        ) as context:
            done = sensor.evaluate_tick(context)
        self.cursor = done.cursor
        return list(done.run_requests or ())

    def follow(self) -> list[str]:
        """A tick, and the runs it asks for; returns which partitions were made."""
        before, job = len(self.made), self.definitions.resolve_job_def("make_daily")
        for request in self.look():
            assert job.execute_in_process(instance=self.ground.instance, partition_key=request.partition_key).success
        return self.made[before:]

    def land(self, name: str, rows: Sequence[str]) -> None:
        self.warehouse.land_source("readings", self.ground.source, [self.ground.drop(name, rows)])

    def build(self, *keys: str) -> list[str]:
        """Build what needs it, or these; tell Dagster; returns which were built."""
        wanted = list(keys) or [need.partition.key for need in self.warehouse.needed_builds("readings")]
        dataset = self.warehouse.declared("readings")
        for _ in self.warehouse.build("readings", [dataset.partition(key) for key in wanted], close=True):
            pass
        drain(self.warehouse, self.ground.instance)
        return wanted


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Downstream]:
    with dagster_deployment(tmp_path, getattr(request, "param", DECLARATION)) as ground, ground.warehouse() as warehouse:
        yield Downstream(ground=ground, warehouse=warehouse)


def key_of(day: int) -> str:
    return f"{FIRST + timedelta(days=day):%Y-%m-%d}"


def test_what_was_built_before_it_was_switched_on_is_left_to_a_backfill(opened: Downstream) -> None:
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1"])
    opened.build("2024-01-01", "2024-01-02")
    assert opened.follow() == []
    assert opened.follow() == []


def test_a_partition_that_changed_is_made_again_and_no_other(opened: Downstream) -> None:
    opened.land("a.csv", [f"a,2024-01-{day:02},1" for day in range(1, 10)])
    opened.build(*(f"2024-01-{day:02}" for day in range(1, 10)))
    assert opened.follow() == []
    opened.land("late.csv", ["b,2024-01-03,2"])
    assert opened.build() == ["2024-01-03"]
    assert opened.follow() == ["2024-01-03"]
    assert opened.follow() == [], "each change asks once"


def test_a_build_that_a_run_of_dagster_does_counts_as_well(opened: Downstream) -> None:
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1"])
    opened.build("2024-01-01", "2024-01-02")
    opened.follow()
    opened.land("late.csv", ["b,2024-01-02,2"])
    drain(opened.warehouse, opened.ground.instance)
    assert opened.follow() == [], "it has landed and is not built"
    job = opened.definitions.resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey("readings")]
    assert job.execute_in_process(instance=opened.ground.instance, asset_selection=selected, partition_key="2024-01-02").success
    assert opened.follow() == ["2024-01-02"]


def test_the_build_s_event_says_what_came_late(opened: Downstream) -> None:
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1", "a,2024-01-05,1"])
    opened.build("2024-01-01", "2024-01-02", "2024-01-05")
    assert "late" not in metadata(opened, "2024-01-01")
    opened.land("late.csv", ["b,2024-01-01,2", "c,2024-01-01,2"])
    opened.build()
    found = metadata(opened, "2024-01-01")
    assert found["late_rows"].value == 2
    (row,) = found["late"].records
    assert (row.data["disposition"], row.data["how late"], row.data["rows"]) == ("corrected", "3.0 d to 6.1 d", 2)


def metadata(opened: Downstream, partition: str) -> dict[str, Any]:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("readings"), asset_partitions=[partition])
    (newest,) = opened.ground.instance.fetch_materializations(wanted, limit=1).records
    assert newest.asset_materialization is not None
    return dict(newest.asset_materialization.metadata)


def test_a_build_that_changed_nothing_asks_for_nothing(opened: Downstream) -> None:
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1"])
    opened.build("2024-01-01", "2024-01-02")
    opened.follow()
    job = opened.definitions.resolve_implicit_global_asset_job_def()
    again = job.execute_in_process(
        instance=opened.ground.instance, asset_selection=[dg.AssetKey("readings")], partition_key="2024-01-01"
    )
    assert [event.partition for event in again.asset_materializations_for_node("build_readings")] == ["2024-01-01"]
    opened.land("same.csv", ["a,2024-01-02,1"])
    assert opened.build() == ["2024-01-02"], "a row that another supersedes"
    assert opened.follow() == []


def test_first_builds_are_asked_for_where_that_is_wished(opened: Downstream) -> None:
    opened.first_builds = True
    assert opened.follow() == []
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1"])
    opened.build("2024-01-01", "2024-01-02")
    assert opened.follow() == ["2024-01-01", "2024-01-02"]


def test_merging_deltas_of_an_open_partition_asks_for_nothing(opened: Downstream) -> None:
    opened.first_builds = True
    opened.follow()
    for number in range(3):
        opened.land(f"{number}.csv", [f"d{number},2024-01-01,1"])
    dataset = opened.warehouse.declared("readings")
    (report,) = opened.warehouse.build("readings", [dataset.partition("2024-01-01")], close=False)
    drain(opened.warehouse, opened.ground.instance)
    assert report.state == "open"
    assert opened.follow() == []


def test_a_tick_that_is_repeated_asks_for_the_same_runs(opened: Downstream) -> None:
    opened.land("a.csv", ["a,2024-01-01,1", "a,2024-01-02,1"])
    opened.build("2024-01-01", "2024-01-02")
    opened.look()
    opened.land("late.csv", ["b,2024-01-01,2", "b,2024-01-02,2"])
    opened.build()
    before = opened.cursor
    first = opened.look()
    opened.cursor = before
    again = opened.look()
    assert [(one.run_key, one.partition_key) for one in first] == [(one.run_key, one.partition_key) for one in again]
    assert len({one.run_key for one in first}) == 2


@pytest.mark.parametrize("opened", [DECLARATION.replace("window: day", "window: hour")], indirect=True, ids=["hourly"])
def test_hours_that_changed_ask_for_their_day_once(opened: Downstream) -> None:
    hours = [f"2024-01-0{day}-{hour:02}:00" for day in (1, 2, 3) for hour in (0, 5, 23)]
    opened.land("a.csv", [f"a,2024-01-0{day}T{hour:02}:30,1" for day in (1, 2, 3) for hour in (0, 5, 23)])
    opened.build(*hours)
    assert opened.follow() == []
    opened.land("late.csv", ["b,2024-01-01T23:59:59,2", "b,2024-01-03T00:00,2", "b,2024-01-03T05:10,2"])
    assert opened.build() == ["2024-01-01-23:00", "2024-01-03-00:00", "2024-01-03-05:00"]
    assert opened.follow() == ["2024-01-01", "2024-01-03"]


@pytest.mark.slow
@pytest.mark.timeout(300 + 20 * YEAR_DAYS)
def test_one_late_record_a_day_for_a_year_makes_one_day_again_each_time(opened: Downstream) -> None:
    """I7: nothing is left out, and nothing beside it is made."""
    days = YEAR_DAYS + 8
    opened.land("year.csv", [f"a,{key_of(day)},1" for day in range(days)])
    opened.build(*(key_of(day) for day in range(days)))
    assert opened.follow() == []
    late = [(day + 8, day + 1 + day % 7) for day in range(YEAR_DAYS)]
    for number, (_, of) in enumerate(late):
        opened.land(f"late-{number}.csv", [f"late-{number},{key_of(of)}T12:00,1"])
        assert opened.build() == [key_of(of)]
        assert opened.follow() == [key_of(of)]
    assert opened.made == [key_of(of) for _, of in late]
    runs = opened.ground.instance.get_runs(dg.RunsFilter(job_name="make_daily"))
    assert len(runs) == YEAR_DAYS
    built = [one for one in opened.warehouse.catalog.audit.newest(limit=10_000) if one["action"] == "built"]
    assert len(built) == days + YEAR_DAYS
    ledger = opened.warehouse.late("readings")
    assert sum(one.rows for one in ledger) == YEAR_DAYS
    assert {one.disposition for one in ledger} == {"corrected"}


@pytest.mark.parametrize(
    ("up", "partition", "down", "expected"),
    [
        ("day", "2024-03-01", "day", ["2024-03-01"]),
        ("hour", "2024-03-01-05:00", "day", ["2024-03-01"]),
        ("day", "2024-03-02", "hour", [f"2024-03-02-{hour:02}:00" for hour in range(24)]),
        ("day", "2024-03-03", "week", ["2024-02-26"]),
        ("month", "2024-03-01", "week", ["2024-02-26", "2024-03-04", "2024-03-11", "2024-03-18", "2024-03-25"]),
        ("day", "2024-02-01", "later", []),
    ],
)
def test_partitions_are_matched_by_time(up: str, partition: str, down: str, expected: list[str]) -> None:
    kinds = {
        "hour": dg.HourlyPartitionsDefinition("2024-01-01-00:00", end_date="2024-06-01-00:00", timezone="UTC"),
        "day": dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-06-01", timezone="UTC"),
        "week": dg.WeeklyPartitionsDefinition("2024-01-01", end_date="2024-06-03", timezone="UTC", day_offset=1),
        "month": dg.MonthlyPartitionsDefinition("2024-01-01", end_date="2024-06-01", timezone="UTC"),
        "later": dg.DailyPartitionsDefinition("2024-03-01", end_date="2024-06-01", timezone="UTC"),
    }
    assert Overlap(upstream=kinds[up], downstream=kinds[down]).of(partition) == expected


def test_what_has_no_windows_of_time_is_matched_by_name_or_refused() -> None:
    named, other = dg.StaticPartitionsDefinition(["all"]), dg.StaticPartitionsDefinition(["a", "b"])
    assert Overlap(upstream=named, downstream=named).of("all") == ["all"]
    assert Overlap(upstream=named, downstream=other).of("all") == []
    with pytest.raises(InputError, match="can't be matched"):
        Overlap(upstream=named, downstream=DAILY).of("all")


def test_a_place_survives_its_text() -> None:
    place = Place(begin=3, newest=9, seen=frozenset({7, 9}))
    assert Place.parse(place.text) == place
