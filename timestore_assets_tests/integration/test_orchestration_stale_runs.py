"""Runs whose process is gone are failed and give their pool slots back; those that live, wait or belong to others are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from timestore_assets.orchestration.liveness import run_lease
from timestore_assets_tests.support.dagster_deployment import QUIET, TOPICS, DagsterDeployment, dagster_deployment

pytestmark = QUIET
RELAY, POOL = "timestore_relay", "timestore_stream"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[DagsterDeployment]:
    with dagster_deployment(tmp_path, TOPICS) as made:
        yield made


def started(
    deployment: DagsterDeployment, job: str = "stream_readings", assets: frozenset[dg.AssetKey] | None = None
) -> dg.DagsterRun:
    """A run that has begun and whose process says nothing more."""
    config = {"ops": {"stream_readings_topics": {"config": {"source": "readings"}}}} if job.startswith("stream") else {}
    definition = deployment.definitions.resolve_job_def(job)
    run = deployment.instance.create_run_for_job(definition, run_config=config, asset_selection=assets)
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=job)
    entry = dg.EventLogEntry(
        error_info=None, level=10, user_message="", run_id=run.run_id, timestamp=time.time(), job_name=job, dagster_event=event
    )
    deployment.instance.handle_new_event(entry)
    return run


def status(deployment: DagsterDeployment, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = deployment.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_dead_run_is_failed_and_its_slot_is_free(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = deployment.instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    run = started(deployment)
    assert storage.claim_concurrency_slot(POOL, run.run_id, "stream_readings_topics").is_claimed
    assert storage.get_concurrency_info(POOL).active_run_ids == {run.run_id}
    assert deployment.tick(RELAY).skip_message == "nothing to report"
    assert status(deployment, run) == dg.DagsterRunStatus.STARTED, "it may not hold its lease yet"
    monkeypatch.setattr("timestore_assets.orchestration.liveness.GRACE", timedelta(0))
    with deployment.warehouse() as warehouse, run_lease(warehouse.catalog, run.run_id):
        deployment.tick(RELAY)
        assert status(deployment, run) == dg.DagsterRunStatus.STARTED, "its process lives"
    assert deployment.tick(RELAY).skip_message == "failed 1 runs whose processes are gone"
    assert status(deployment, run) == dg.DagsterRunStatus.FAILURE
    assert storage.get_concurrency_info(POOL).active_run_ids == set()
    assert storage.claim_concurrency_slot(POOL, "third", "stream_readings_topics").is_claimed


def test_builds_may_wait_between_tries_and_other_jobs_are_left_alone(
    deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestore_assets.orchestration.liveness.GRACE", timedelta(0))
    monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_BACKOFF_MS", "15000")
    build = started(deployment, "__ASSET_JOB", frozenset({dg.AssetKey("readings")}))
    mixed = started(deployment, "__ASSET_JOB")
    assert deployment.tick(RELAY).skip_message == "nothing to report"
    assert {status(deployment, build), status(deployment, mixed)} == {dg.DagsterRunStatus.STARTED}
    monkeypatch.setenv("TIMESTORE_PARTITION_BUILD_BACKOFF_MS", "0")
    deployment.tick(RELAY)
    assert (status(deployment, build), status(deployment, mixed)) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED)


def test_a_lease_that_a_sensor_tried_is_had_all_the_same(deployment: DagsterDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.orchestration.liveness._SOON_SECONDS", 0.02)
    with deployment.warehouse() as warehouse:
        probe = warehouse.catalog.leases.acquire("dagster-run:r", holder="sensor", ttl=timedelta(seconds=5))
        assert probe is not None
        with run_lease(warehouse.catalog, "r"):
            warehouse.catalog.leases.release(probe)
            deadline = time.monotonic() + 60
            while (
                found := warehouse.catalog.leases.acquire("dagster-run:r", holder="test", ttl=timedelta(seconds=1))
            ) is not None:
                warehouse.catalog.leases.release(found)
                assert time.monotonic() < deadline
                time.sleep(0.05)
