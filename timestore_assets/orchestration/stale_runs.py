"""Ends runs whose process is gone: Dagster keeps them STARTED, and with them their slots in the pools."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from timestore_assets.orchestration.liveness import GRACE, lease_is_free
from timestore_assets.orchestration.names import dataset_key, landing_job, stream_job
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

STARTING = timedelta(minutes=3)
"""How long a run may take from its launch to its first word."""
_BEGUN = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def fail_stale_runs(instance: dg.DagsterInstance, warehouse: Warehouse, *, location: str | None = None) -> list[str]:
    """Fail our runs that hold no lease and have said nothing for too long; returns their ids.

    Runs with other people's steps are left alone: they hold the lease only while ours are at work.

    Args:
        location: name of our code location; another one's runs may belong to another warehouse. None: don't ask.
    """
    now, failed = datetime.now(UTC), []
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(_BEGUN))):
        run = record.dagster_run
        if not _ours(run, warehouse, location) or now - _last_word(instance, record) < _patience(run, warehouse.settings):
            continue
        if lease_is_free(warehouse.catalog, run.run_id):
            instance.report_run_failed(run, "Its process is gone: it holds no lease in the catalog. What it committed stays.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            failed.append(run.run_id)
    return failed


def _ours(run: dg.DagsterRun, warehouse: Warehouse, location: str | None) -> bool:
    origin = run.remote_job_origin
    if location is not None and origin is not None and origin.location_name != location:
        return False
    for name in warehouse.datasets:
        if run.job_name in (landing_job(name), stream_job(name)) or run.asset_selection == {dataset_key(name)}:
            return True
    return False


def _last_word(instance: dg.DagsterInstance, record: dg.RunRecord) -> datetime:
    """When the run's log got its last line, or else when the run was made."""
    found = instance.get_records_for_run(record.dagster_run.run_id, limit=1, ascending=False).records
    return datetime.fromtimestamp(found[0].timestamp, UTC) if found else record.create_timestamp.astimezone(UTC)


def _patience(run: dg.DagsterRun, settings: Settings) -> timedelta:
    """How long it may be silent without a lease: while it starts, and between two tries of a build."""
    if run.status == dg.DagsterRunStatus.STARTING:
        return STARTING
    pause = timedelta(milliseconds=settings.partition_build_backoff_ms) * (1 << max(0, settings.partition_build_attempts - 2))
    return GRACE + pause if run.asset_selection else GRACE
