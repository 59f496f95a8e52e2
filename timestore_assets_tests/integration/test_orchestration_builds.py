"""The asset's materialisation is the build: what it reports, what it skips, and what a failure leaves behind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from timestore_assets.building import group_plan
from timestore_assets.building.builder import Builder
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets_tests.support.dagster_deployment import QUIET, DagsterDeployment, dagster_deployment

pytestmark = QUIET
KEY = dg.AssetKey("readings")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        yield made


def land(deployment: DagsterDeployment, name: str, rows: list[str], header: str = "device,at,value") -> None:
    path = deployment.drop(name, rows, header=header)
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])


def rows(*days: int, value: float = 1.0) -> list[str]:
    return [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,{value}" for day in days for hour in range(3)]


def materialize(deployment: DagsterDeployment, first: int, last: int, **tags: str) -> dg.ExecuteInProcessResult:
    span = {"range_start": f"2024-01-{first:02d}", "range_end": f"2024-01-{last:02d}"}
    given = {f"dagster/asset_partition_{name}": key for name, key in span.items()}
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=deployment.instance, asset_selection=[KEY], tags={**given, **tags}, raise_on_error=False
    )


def events(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }


def states(deployment: DagsterDeployment) -> dict[str, str]:
    with deployment.warehouse() as warehouse:
        return {found.partition.key: found.state for found in warehouse.partitions("readings")}


def test_each_partition_is_reported_with_its_figures(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1, 2))
    land(deployment, "b.csv", rows(1, value=2.0))
    found = events(materialize(deployment, 1, 2))
    assert list(found) == ["2024-01-01", "2024-01-02"]
    first = found["2024-01-01"]
    assert (first["dagster/partition_row_count"], first["superseded_rows"], first["segments"], first["state"]) == (
        3,
        3,
        1,
        "sealed",
    )
    assert len(first["content_hash"].rpartition(":")[2]) == 32
    assert first["dagster/uri"].startswith("file:///")
    assert Path(first["dagster/uri"].removeprefix("file://")).exists()
    assert first["open_with"] in first["look_inside"]
    shown = subprocess.run(["sh", "-c", first["open_with"]], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "device" in shown and "2024-01-01" in shown
    assert "timestore query readings --from 2024-01-01 --to 2024-01-02 --limit 5" in first["look_inside"]
    assert not {"dagster/column_schema", "dagster/column_lineage"} & first.keys(), "the columns are those of the definition"


def test_partitions_without_rows_are_skipped_and_named_in_the_log(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(2))
    result = materialize(deployment, 1, 4)
    assert result.success
    assert list(events(result)) == ["2024-01-02"]
    log = [str(record.user_message) for record in deployment.instance.all_logs(result.run_id)]
    assert any(
        "nothing to build in 3 partitions from 2024-01-01 to 2024-01-04: no rows have landed there" in line for line in log
    )


def test_materialising_by_hand_seals_and_a_sensors_request_may_not(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    land(deployment, "b.csv", rows(2))
    assert materialize(deployment, 2, 2, **{"timestore/close": "no"}).success
    assert states(deployment) == {"2024-01-01": "open", "2024-01-02": "open"}
    assert materialize(deployment, 1, 2).success
    assert states(deployment) == {"2024-01-01": "sealed", "2024-01-02": "sealed"}


def test_materialising_again_reports_the_same_content(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    before, after = events(materialize(deployment, 1, 1)), events(materialize(deployment, 1, 1))
    assert before["2024-01-01"]["content_hash"] == after["2024-01-01"]["content_hash"]
    assert before["2024-01-01"]["manifest_version"] == after["2024-01-01"]["manifest_version"]


def test_a_partition_that_fails_does_not_keep_the_others(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    land(deployment, "a.csv", rows(1, 2, 3))
    fail_at(monkeypatch, "2024-01-02", InputError("the second day is cursed"), times=99)
    result = materialize(deployment, 1, 3)
    assert not result.success
    assert list(events(result)) == ["2024-01-01", "2024-01-03"]
    assert result.retry_attempts_for_node("build_readings") == 0, "trying again can't help"
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "building readings: the second day is cursed" in str(failure.event_specific_data.user_failure_data)


def test_a_damaged_segment_fails_the_run_by_name_and_the_others_are_built(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1, 2))
    with deployment.warehouse() as warehouse:
        [first, _] = warehouse.catalog.manifest.segments(warehouse.resolve("readings")[1].id)
        path = warehouse.storage.path(first)
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(content)
    result = materialize(deployment, 1, 2)
    assert not result.success
    assert states(deployment) == {"2024-01-01": "open", "2024-01-02": "sealed"}
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert f"segment {first.name} is damaged" in str(failure.user_failure_data.description)


def test_a_retry_reports_nothing_twice(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    land(deployment, "a.csv", rows(1, 2, 3))
    fail_at(monkeypatch, "2024-01-02", UnavailableError("the disk is away"), times=2)
    result = materialize(deployment, 1, 3)
    assert result.success
    assert result.retry_attempts_for_node("build_readings") == 2
    reported = [event.partition for event in result.get_asset_materialization_events()]
    assert sorted(map(str, reported)) == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_a_retry_reports_what_another_run_built_meanwhile(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    land(deployment, "a.csv", rows(1, 2, 3))
    others: list[dg.ExecuteInProcessResult] = []

    def another_run() -> None:
        others.append(materialize(deployment, 2, 2))

    fail_at(monkeypatch, "2024-01-02", UnavailableError("somebody else is building it"), times=1, meanwhile=another_run)
    result = materialize(deployment, 1, 3)
    assert result.success
    assert list(events(others[0])) == ["2024-01-02"]
    # a backfill is complete only when its own runs have reported every partition
    assert sorted(events(result)) == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_a_build_runs_the_checks_and_they_can_run_alone(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", rows(1))
    result = materialize(deployment, 1, 1)
    assert {found.check_name for found in result.get_asset_check_evaluations()} == {
        "schema", "accounting", "freshness", "files", "dead_letters",
    }  # fmt: skip
    alone = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(dg.AssetCheckKey(KEY, "accounting")))
    definitions = dg.Definitions.merge(deployment.definitions, dg.Definitions(jobs=[alone]))
    again = definitions.resolve_job_def("alone").execute_in_process(instance=deployment.instance)
    assert [found.check_name for found in again.get_asset_check_evaluations()] == ["accounting"]
    assert not again.get_asset_materialization_events()


def test_an_evolved_schema_is_reported_with_the_partition(deployment: DagsterDeployment) -> None:
    land(deployment, "a.csv", [f"{row},7" for row in rows(1)], header="device,at,value,humidity")
    found = events(materialize(deployment, 1, 1))["2024-01-01"]
    columns = {column.name: column for column in found["dagster/column_schema"].columns}
    assert "undeclared" in columns["humidity"].tags
    upstream = found["dagster/column_lineage"].deps_by_column["humidity"]
    assert [one.column_name for one in upstream] == ["humidity"] and upstream[0].asset_key.path[0] == "readings"


def fail_at(
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    error: Exception,
    *,
    times: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Let the builds of one partition fail so many times, `meanwhile` before each; all else is the real builder.

    It is built by itself, those before and behind it together.
    """
    real, left, small = Builder.build, [times], group_plan.is_small
    monkeypatch.setattr(group_plan, "is_small", lambda state: state.partition.key != key and small(state))

    def build(self: Builder, dataset: Any, partition: Any, **options: Any) -> Any:
        if partition.key == key and left[0]:
            left[0] -= 1
            meanwhile()
            raise error
        return real(self, dataset, partition, **options)

    monkeypatch.setattr(Builder, "build", build)
