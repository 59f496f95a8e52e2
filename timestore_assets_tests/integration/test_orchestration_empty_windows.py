"""A finished dataset is whole in Dagster too: windows that stayed without rows are told of once, and only there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.orchestration import empty_window_events
from timestore_assets.orchestration.checks.findings import findings
from timestore_assets.orchestration.empty_window_events import missing_partitions, tell_empty_windows
from timestore_assets.orchestration.idle_datasets import IdleDatasets
from timestore_assets.orchestration.outbox_relay import drain
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET, DagsterDeployment, dagster_deployment

pytestmark = QUIET
KEY = dg.AssetKey("readings")
FINISHED = DECLARATION.replace("  start: 2024-01-01\n", "  start: 2024-01-01\n  end: 2024-01-06\n").replace(
    "prefix: inbox/readings/, format: csv", "prefix: inbox/readings/, format: csv, on_change: replace"
)
ALL = {f"2024-01-0{day}" for day in range(1, 6)}


@pytest.fixture
def finished(tmp_path: Path) -> Iterator[DagsterDeployment]:
    """A dataset of five days, of which the second and the last never get rows."""
    with dagster_deployment(tmp_path, FINISHED) as made:
        yield made


def land(deployment: DagsterDeployment, name: str, *days: int, header: str = "device,at,value") -> None:
    lines = [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,1.5" for day in days for hour in range(3)]
    path = deployment.drop(name, lines, header=header)
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])


def build(deployment: DagsterDeployment) -> None:
    """Build what is needed, and have it reported."""
    with deployment.warehouse() as warehouse:
        needs = [need.partition for need in warehouse.needed_builds("readings")]
        assert list(warehouse.build("readings", needs, close=True))
        drain(warehouse, deployment.instance)


def tell(deployment: DagsterDeployment, *, later: float = 60.0, **arguments: Any) -> int:
    with deployment.warehouse() as warehouse:
        now = datetime.now(UTC) + timedelta(seconds=later)
        return tell_empty_windows(warehouse, deployment.instance, idle=IdleDatasets(), now=now, **arguments)


def told(deployment: DagsterDeployment, key: str) -> list[dict[str, Any]]:
    """Metadata of a partition's materialisations, newest first."""
    filtered = dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[key])
    records = deployment.instance.fetch_materializations(filtered, limit=20).records
    found = [record.asset_materialization for record in records]
    return [{name: value.value for name, value in one.metadata.items()} for one in found if one is not None]


def green(deployment: DagsterDeployment) -> set[str]:
    return deployment.instance.get_materialized_partitions(KEY)


def test_windows_without_rows_of_a_finished_dataset_are_told_of_once(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    assert green(finished) == ALL - {"2024-01-02", "2024-01-05"}
    assert tell(finished) == 2
    assert green(finished) == ALL
    (event,) = told(finished, "2024-01-05")
    assert (event["dagster/partition_row_count"], event["dagster/row_count"], event["state"]) == (0, 9, "empty")
    assert event["reason"] == "no rows arrived in this window"
    record = finished.instance.get_latest_materialization_event(KEY)
    assert record is not None and record.asset_materialization is not None
    assert record.asset_materialization.description == "no rows arrived in this window; the dataset ended 2024-01-06"
    assert tell(finished) == 0
    assert len(told(finished, "2024-01-05")) == 1


def test_the_relay_tells_and_then_has_nothing_to_report(finished: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empty_window_events, "QUIET_LOOKS", 0)
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    assert finished.tick("timestore_relay").skip_message == "told of 2 windows without rows"
    assert finished.tick("timestore_relay").skip_message == "nothing to report"


def test_nothing_is_told_before_rows_have_landed_are_built_and_the_sources_are_quiet(finished: DagsterDeployment) -> None:
    assert tell(finished) == 0, "nothing has ever landed"
    land(finished, "a.csv", 1, 3, 4)
    assert tell(finished) == 0, "its rows are not built"
    build(finished)
    assert tell(finished, later=0.0) == 0, "the next file may be under way"
    with finished.warehouse() as warehouse:
        _, record = warehouse.resolve("readings")
        source = warehouse.catalog.sources.ensure(record.id, finished.source.kind, finished.source.address)
        warehouse.catalog.files.observe(source.id, address="b.csv", etag="1", sha256="0" * 64, size=1, replace=False)
    assert tell(finished) == 0, "a file is pending"


def test_a_running_dataset_keeps_its_gaps(tmp_path: Path) -> None:
    with dagster_deployment(tmp_path) as running:
        land(running, "a.csv", 1, 3)
        build(running)
        before = green(running)
        assert tell(running, later=3600.0) == 0
        assert green(running) == before


def test_rows_that_arrive_later_take_the_place_of_the_event(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    assert tell(finished) == 2
    land(finished, "b.csv", 5)
    build(finished)
    newest, first = told(finished, "2024-01-05")
    assert (newest["dagster/partition_row_count"], newest["state"]) == (3, "sealed")
    assert first["state"] == "empty"
    assert tell(finished) == 0
    assert len(told(finished, "2024-01-05")) == 2


def test_a_relay_that_died_half_way_is_gone_on_from(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    assert tell(finished, seconds=0.0) == 1, "its time was over"
    with finished.warehouse() as warehouse:  # as one leaves it that died on another machine
        _, record = warehouse.resolve("readings")
        warehouse.catalog.leases.acquire(f"empty-windows:{record.id}", holder="elsewhere", ttl=timedelta(seconds=60))
    assert tell(finished) == 0, "it may be alive still"
    _sql(finished, "UPDATE leases SET expires_at = 1 WHERE holder = 'elsewhere'")
    assert tell(finished) == 1
    assert [len(told(finished, key)) for key in ("2024-01-02", "2024-01-05")] == [1, 1]


def test_relays_side_by_side_tell_once(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    with ThreadPoolExecutor(4) as relays:
        done = [future.result(60) for future in [relays.submit(tell, finished) for _ in range(8)]]
    assert sum(done) == 2
    assert [len(told(finished, key)) for key in ("2024-01-02", "2024-01-05")] == [1, 1]


def test_no_partition_is_invented_in_the_catalog(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    with finished.warehouse() as warehouse:
        before = warehouse.partitions("readings"), [found.summary for found in findings(warehouse, finished.dataset)]
    assert tell(finished) == 2
    with finished.warehouse() as warehouse:
        after = warehouse.partitions("readings"), [found.summary for found in findings(warehouse, finished.dataset)]
    assert before == after
    assert len(after[0]) == 3


def test_a_partition_whose_rows_were_all_replaced_is_reported_as_empty(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    land(finished, "b.csv", 2)
    build(finished)
    assert told(finished, "2024-01-02")[0]["dagster/partition_row_count"] == 3
    land(finished, "b.csv", 5)
    job = finished.definitions.resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": "2024-01-02", "dagster/asset_partition_range_end": "2024-01-02"}
    assert job.execute_in_process(instance=finished.instance, asset_selection=[KEY], tags=tags).success
    assert told(finished, "2024-01-02")[0]["dagster/partition_row_count"] == 0


def test_missing_partitions_are_those_that_dagster_does_not_know(finished: DagsterDeployment) -> None:
    land(finished, "a.csv", 1, 3, 4)
    build(finished)
    every = finished.dataset.partitions_between(None, None, datetime.now(UTC))
    missing = missing_partitions(finished.instance, finished.dataset, every)
    assert [partition.key for partition in missing] == ["2024-01-02", "2024-01-05"]


def _sql(deployment: DagsterDeployment, statement: str) -> None:
    connection = sqlite3.connect(deployment.home / "catalog.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()
