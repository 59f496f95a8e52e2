"""Jobs and schedules that tidy up: a person sees them in Dagster, and their runs say what they removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.model.retention import Retention
from timestore_assets.orchestration.code_location import defs
from timestore_assets.orchestration.dagster_names import GC_JOB, RETENTION_JOB, VERIFY_JOB
from timestore_assets.orchestration.dataset_definitions import serving_defs
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets_tests.support.dagster_deployment import QUIET, DagsterDeployment, dagster_deployment

KEY = dg.AssetKey("readings")
SCHEDULES = {f"{GC_JOB}_schedule": "RUNNING", f"{RETENTION_JOB}_schedule": "RUNNING", f"{VERIFY_JOB}_schedule": "STOPPED"}
pytestmark = QUIET


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path) as made:
        yield made


def land(deployment: DagsterDeployment, *days: int) -> None:
    rows = [f"a,2024-01-{day:02d}T{hour:02d}:00:00Z,1.5" for day in days for hour in range(3)]
    path = deployment.drop("a.csv", rows)
    with deployment.warehouse() as warehouse:
        warehouse.land("readings", [path])


def keep(deployment: DagsterDeployment, retention: Retention | None) -> None:
    with deployment.warehouse() as warehouse:
        warehouse.set_retention("readings", retention, actor="test")


def run(deployment: DagsterDeployment, job: str, config: dict[str, object] | None = None) -> dg.ExecuteInProcessResult:
    found = deployment.definitions.resolve_job_def(job)
    return found.execute_in_process(instance=deployment.instance, run_config=config, raise_on_error=False)


def logged(deployment: DagsterDeployment, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in deployment.instance.all_logs(result.run_id))


def tick(deployment: DagsterDeployment, name: str) -> dg.ScheduleExecutionData:
    schedule = deployment.definitions.resolve_schedule_def(name)
    with dg.build_schedule_context(instance=deployment.instance) as context:
        return schedule.evaluate_tick(context)


def test_the_schedules_are_there_and_on_where_that_is_harmless(deployment: DagsterDeployment) -> None:
    for definitions in (deployment.definitions, defs()):
        found = {one.name: one.default_status.value for one in definitions.schedules or ()}
        assert found == SCHEDULES


def test_a_projects_own_schedules_stay_beside_them(deployment: DagsterDeployment) -> None:
    @dg.job
    def mine() -> None:
        pass

    own = dg.Definitions(jobs=[mine], schedules=[dg.ScheduleDefinition(job=mine, cron_schedule="0 0 * * *")])
    # a project whose components have brought the shared ones already
    served = ServedDatasets(from_files={"readings": deployment.dataset})
    merged = defs(dg.Definitions.merge(own, serving_defs(served, deployment.settings)))
    assert {one.name for one in merged.schedules or ()} == {*SCHEDULES, "mine_schedule"}
    dg.Definitions.validate_loadable(merged)


def test_the_retention_runs_only_where_a_dataset_has_one(deployment: DagsterDeployment) -> None:
    land(deployment, 1)
    assert tick(deployment, f"{RETENTION_JOB}_schedule").skip_message == "no dataset has a retention"
    keep(deployment, Retention(max_age=timedelta(days=30)))
    assert len(tick(deployment, f"{RETENTION_JOB}_schedule").run_requests or ()) == 1
    keep(deployment, None)
    assert tick(deployment, f"{RETENTION_JOB}_schedule").skip_message is not None


def test_a_run_lets_partitions_expire_and_dagster_knows_them(deployment: DagsterDeployment) -> None:
    land(deployment, 1, 2)
    keep(deployment, Retention(max_age=timedelta(days=30)))
    looked = run(deployment, RETENTION_JOB, {"ops": {"timestore_expire": {"config": {"execute": False}}}})
    assert looked.success
    assert "readings 2024-01-01 would have expired, 3 rows" in logged(deployment, looked)
    with deployment.warehouse() as warehouse:
        assert {one.state for one in warehouse.partitions("readings")} == {"open"}
    done = run(deployment, RETENTION_JOB)
    assert done.success
    assert "readings 2024-01-02 expired, 3 rows" in logged(deployment, done)
    with deployment.warehouse() as warehouse:
        assert {one.state for one in warehouse.partitions("readings")} == {"expired"}
        assert warehouse.needed_builds("readings") == []
    seen = [record.asset_observation for record in deployment.instance.fetch_observations(KEY, limit=10).records]
    expired = {one.partition: one.description for one in seen if one is not None and one.partition is not None}
    assert set(expired) == {"2024-01-01", "2024-01-02"}
    assert str(expired["2024-01-01"]).startswith("expired: max_age: it ended")
    assert "nothing to expire" in logged(deployment, run(deployment, RETENTION_JOB))


def test_one_dataset_that_fails_does_not_keep_the_others(deployment: DagsterDeployment) -> None:
    land(deployment, 1)
    keep(deployment, Retention(max_age=timedelta(days=30)))
    config = {"ops": {"timestore_expire": {"config": {"datasets": ["nobody", "readings"]}}}}
    result = run(deployment, RETENTION_JOB, config)
    assert not result.success
    with deployment.warehouse() as warehouse:
        assert {one.state for one in warehouse.partitions("readings")} == {"expired"}


def test_a_collection_says_what_it_removed(deployment: DagsterDeployment) -> None:
    land(deployment, 1)
    keep(deployment, Retention(max_age=timedelta(days=30), keep_versions=timedelta(0)))
    assert run(deployment, RETENTION_JOB).success
    result = run(deployment, GC_JOB)
    assert result.success
    assert "superseded segments: 1" in logged(deployment, result)
    assert "nothing was to be removed" in logged(deployment, run(deployment, GC_JOB))


def test_a_verification_fails_where_a_file_is_gone(deployment: DagsterDeployment) -> None:
    land(deployment, 1)
    assert run(deployment, VERIFY_JOB).success
    with deployment.warehouse() as warehouse:
        _, record = warehouse.resolve("readings")
        (segment,) = warehouse.catalog.manifest.segments(record.id)
        path = warehouse.storage.path(segment)
        assert path is not None
        path.unlink()
    result = run(deployment, VERIFY_JOB)
    assert not result.success
    assert f"{segment.name}: missing" in logged(deployment, result)
