"""Sensors ticked on a real ephemeral instance: what they ask for, when they wait, and when they give up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.orchestration.liveness import run_lease
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, DagsterDeployment, dagster_deployment

pytestmark = QUIET
WATCH, BUILD, LAND = "timestore_files", "timestore_builds", "land_readings"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        yield made


def days(*numbers: int, device: str = "a", value: float = 1.0) -> list[str]:
    return [f"{device},2024-01-{day:02d}T{hour:02d}:00:00Z,{value}" for day in numbers for hour in range(3)]


def seen_twice(deployment: DagsterDeployment) -> dg.RunRequest:
    """Two observations of what is there; the landing run they ask for."""
    first = deployment.tick(WATCH)
    second = deployment.tick(WATCH, first.cursor)
    assert second.run_requests is not None
    (request,) = second.run_requests
    return request


def fail(deployment: DagsterDeployment, request: dg.RunRequest) -> None:
    """Run it under settings with which it can't do its work."""
    with pytest.MonkeyPatch.context() as broken:
        broken.setenv("TIMESTORE_STORAGE_TARGETS", "no JSON")
        assert not deployment.run(request, LAND).success


def test_a_file_is_landed_after_two_equal_observations(deployment: DagsterDeployment) -> None:
    assert deployment.tick(WATCH).skip_message == "no file is below inbox/readings/ yet"
    deployment.drop("a.csv", days(1))
    first = deployment.tick(WATCH)
    assert (first.run_requests, first.skip_message) == (
        [],
        "1 file seen for the first time; landed once they look the same at the next tick",
    )
    second = deployment.tick(WATCH, first.cursor)
    assert second.run_requests is not None
    config = second.run_requests[0].run_config["ops"]["land_readings_files"]["config"]
    assert config == {
        "source": "inbox/readings/**/*",
        "files": ["a.csv"],
        "bytes": (deployment.home / "inbox/readings/a.csv").stat().st_size,
    }
    assert deployment.run(second.run_requests[0], LAND).success
    assert deployment.tick(WATCH, second.cursor).skip_message == "nothing new among 1 file below inbox/readings/"
    with deployment.warehouse() as warehouse:
        assert [found.rows for found in warehouse.partitions("readings")] == [3]


def test_a_file_that_still_grows_is_left_alone(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", days(1))
    first = deployment.tick(WATCH)
    deployment.drop("a.csv", days(1, 2))
    second = deployment.tick(WATCH, first.cursor)
    assert second.run_requests == []
    third = deployment.tick(WATCH, second.cursor)
    assert third.run_requests is not None
    assert len(third.run_requests) == 1


def test_a_prefix_with_a_time_in_it_is_watched_from_the_start_to_tomorrow(tmp_path: Path) -> None:
    declared = DECLARATION.replace("inbox/readings/", '"inbox/{window:%Y/%m}/"').replace("start: 2024-01-01", "start: 2024-02-01")
    with dagster_deployment(tmp_path, declared) as deployment:
        for folder in ("2024/01", "2024/02/sub", "2024/03", "2999/01", "."):
            path = deployment.home / "inbox" / folder / "x.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"device,at,value\n{folder},2024-03-01T00:00:00Z,1\n")
        config = seen_twice(deployment).run_config["ops"]["land_readings_files"]["config"]
        assert (config["source"], config["files"]) == ("inbox/{window:%Y/%m}/**/*", ["2024/02/sub/x.csv", "2024/03/x.csv"])


def test_the_run_key_depends_on_nothing_but_the_files(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", days(1))
    assert seen_twice(deployment).run_key == seen_twice(deployment).run_key


def test_a_bad_file_is_quarantined_and_stops_nothing(deployment: DagsterDeployment) -> None:
    deployment.drop("bad.csv", ["1,2"], header="x,y")
    deployment.drop("good.csv", days(1))
    assert deployment.run(seen_twice(deployment), LAND).success
    after = deployment.tick(WATCH)
    assert after.skip_message == "nothing new among 2 files below inbox/readings/"
    with deployment.warehouse() as warehouse:
        assert [found.rows for found in warehouse.partitions("readings")] == [3]


def test_files_wait_for_the_run_that_is_at_work(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", days(1))
    request = seen_twice(deployment)
    job = deployment.definitions.resolve_job_def(LAND)
    run = deployment.instance.create_run_for_job(job, run_config=request.run_config, tags=request.tags)
    cursor = deployment.tick(WATCH).cursor
    waiting = deployment.tick(WATCH, cursor)
    assert waiting.skip_message == f"1 file wait for landing run {run.run_id[:8]}, which is still at work"


def test_a_run_whose_machine_died_blocks_nothing(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.drop("a.csv", days(1))
    request = seen_twice(deployment)
    job = deployment.definitions.resolve_job_def(LAND)
    run = deployment.instance.create_run_for_job(job, run_config=request.run_config, tags=request.tags)
    deployment.instance.report_engine_event("started", run)
    deployment.instance.handle_new_event(_started(run, job.name))
    cursor = deployment.tick(WATCH).cursor
    assert deployment.tick(WATCH, cursor).run_requests == [], "a run that has just started may not hold its lease yet"
    monkeypatch.setattr("timestore_assets.orchestration.liveness.GRACE", timedelta(0))
    with deployment.warehouse() as warehouse, run_lease(warehouse.catalog, run.run_id):
        assert deployment.tick(WATCH, cursor).run_requests == []
    again = deployment.tick(WATCH, cursor).run_requests
    assert again is not None
    assert [found.run_key for found in again] == [str(request.run_key).removesuffix(":0") + ":1"]


def test_a_landing_that_fails_is_tried_again_and_not_for_ever(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_ATTEMPTS", "2")
    deployment.drop("a.csv", days(1))
    keys = []
    for _ in range(2):
        request = seen_twice(deployment)
        keys.append(request.run_key)
        fail(deployment, request)
    assert len(set(keys)) == 2
    last = deployment.tick(WATCH, deployment.tick(WATCH).cursor)
    assert last.run_requests == []
    assert last.skip_message is not None
    assert last.skip_message.startswith("landing 1 file failed 2 times, last in run ")


def test_a_failed_landing_pauses_before_the_next_try(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.drop("a.csv", days(1))
    fail(deployment, seen_twice(deployment))
    monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_BACKOFF_MS", "600000")
    last = deployment.tick(WATCH, deployment.tick(WATCH).cursor)
    assert last.run_requests == []
    assert last.skip_message is not None
    assert "tried again at" in last.skip_message


def test_closed_partitions_are_asked_for_in_ranges_without_gaps(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", days(1, 2, 3, 5, 6, 9))
    assert deployment.run(seen_twice(deployment), LAND).success
    requests = deployment.tick(BUILD).run_requests
    assert requests is not None
    spans = [
        (found.tags["dagster/asset_partition_range_start"], found.tags["dagster/asset_partition_range_end"]) for found in requests
    ]
    assert spans == [("2024-01-01", "2024-01-03"), ("2024-01-05", "2024-01-06")], "the newest day may still get rows"
    assert [found.run_key for found in requests] == [found.run_key for found in deployment.tick(BUILD).run_requests or ()]
    for request in requests:
        assert deployment.run(request, "__ASSET_JOB").success
    assert deployment.tick(BUILD).skip_message == "every partition is built, or is open and below its thresholds"
    assert deployment.instance.get_materialized_partitions(dg.AssetKey("readings")) == {
        "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-05", "2024-01-06",
    }  # fmt: skip


def test_an_open_partition_is_merged_and_stays_open(deployment: DagsterDeployment) -> None:
    for number in range(16):
        deployment.drop(f"{number}.csv", days(1, device=f"d{number}"))
    assert deployment.run(seen_twice(deployment), LAND).success
    (request,) = deployment.tick(BUILD).run_requests or ()
    assert request.tags["timestore/close"] == "no"
    assert "16 deltas" in request.tags["timestore/reason"]
    assert deployment.run(request, "__ASSET_JOB").success
    with deployment.warehouse() as warehouse:
        (found,) = warehouse.partitions("readings")
    assert (found.state, found.rows) == ("open", 48)
    assert found.deltas < 16


def test_partitions_that_a_run_is_building_are_not_asked_for_again(deployment: DagsterDeployment) -> None:
    deployment.drop("a.csv", days(1, 2, 3, 5))
    assert deployment.run(seen_twice(deployment), LAND).success
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    by_hand = {"dagster/asset_partition_range_start": "2024-01-02", "dagster/asset_partition_range_end": "2024-01-03"}
    deployment.instance.create_run_for_job(job, tags=by_hand, asset_selection=frozenset({dg.AssetKey("readings")}))
    (request,) = deployment.tick(BUILD).run_requests or ()
    assert (
        request.tags["dagster/asset_partition_range_start"] == request.tags["dagster/asset_partition_range_end"] == "2024-01-01"
    )


@pytest.mark.parametrize(("setting", "limits"), [(None, {}), ("3", {"timestore_build": 3})])
def test_the_setting_limits_the_build_pool(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch, setting: str | None, limits: dict[str, int]
) -> None:
    deployment.drop("a.csv", days(1, 3))
    assert deployment.run(seen_twice(deployment), LAND).success
    if setting:
        monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_CONCURRENCY", setting)
    assert deployment.tick(BUILD).run_requests
    storage = deployment.instance.event_log_storage
    assert {pool.name: pool.limit for pool in storage.get_pool_limits() if not pool.from_default} == limits


def test_a_partition_of_a_later_day_than_today_waits(deployment: DagsterDeployment) -> None:
    with deployment.warehouse() as warehouse:
        tomorrow = warehouse.datasets["readings"].upper_bound(datetime.now(UTC)) - timedelta(hours=2)
    deployment.drop("a.csv", [f"a,{tomorrow:%Y-%m-%dT%H:%M:%SZ},1"])
    assert deployment.run(seen_twice(deployment), LAND).success
    with deployment.warehouse() as warehouse:
        _, record = warehouse.resolve("readings")
        partition = warehouse.datasets["readings"].window.partition(tomorrow)
        warehouse.catalog.partitions.request_builds(record.id, [partition], reason="test")
    assert deployment.tick(BUILD).run_requests == [], "Dagster has no such partition yet"


def _started(run: dg.DagsterRun, job: str) -> dg.EventLogEntry:
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=job)
    return dg.EventLogEntry(
        error_info=None, level=10, user_message="", run_id=run.run_id, timestamp=time.time(), job_name=job, dagster_event=event
    )
