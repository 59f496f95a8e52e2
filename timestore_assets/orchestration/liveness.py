"""Whether a run is really working, and the end of those that are not.

Dagster keeps a run STARTED for ever when its machine dies, and with it its slots in the pools; a lease in the catalog expires.
Who is about to stop Dagster asks here whether it still has something to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.lease_keeper import LeaseKeeper
from timestore_assets.orchestration.dagster_names import dataset_key, landing_job, stream_job
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

TTL = timedelta(seconds=60)
GRACE = timedelta(seconds=60)
"""How long a started run may take to import its code and reach its lease."""
_SOON_SECONDS = 2.0
_WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
_WORKING = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


@contextmanager
def run_lease(catalog: Catalog, run_id: str) -> Iterator[None]:
    """Hold a run's lease while its work goes on, now or as soon as it is free: a sensor that looks takes it for an instant.

    A lease that can't be had (the run was resumed beside its own zombie) is no reason to stop: the catalog fences every commit.
    """
    with LeaseKeeper(catalog) as keeper:
        keeper.hold_when_free(_resource(run_id), holder=run_id, ttl=TTL, retry_seconds=_SOON_SECONDS)
        yield


class UnfinishedRuns:
    """The runs that have not ended, read once, when somebody asks: a tick looks at many datasets and starts nothing meanwhile."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    @cached_property
    def _records(self) -> Sequence[dg.RunRecord]:
        return self._instance.get_run_records(dg.RunsFilter(statuses=[*_WAITING, *_WORKING]))

    def live(self, catalog: Catalog, concerned: Callable[[dg.DagsterRun], bool]) -> list[dg.DagsterRun]:
        """Runs among the concerned that wait for their turn or are really at work."""
        now = datetime.now(UTC)
        return [found.dagster_run for found in self._records if concerned(found.dagster_run) and _lives(found, catalog, now)]


def _lives(record: dg.RunRecord, catalog: Catalog, now: datetime) -> bool:
    if record.dagster_run.status in _WAITING:
        return True
    if record.start_time is not None and now - datetime.fromtimestamp(record.start_time, UTC) < GRACE:
        return True
    return not lease_is_free(catalog, record.dagster_run.run_id)


def lease_is_free(catalog: Catalog, run_id: str) -> bool:
    """Whether nobody holds a run's lease, found out by taking it for an instant."""
    lease = catalog.leases.acquire(_resource(run_id), holder="sensor", ttl=timedelta(seconds=1))
    if lease is None:
        return False
    catalog.leases.release(lease)
    return True


def _resource(run_id: str) -> str:
    return f"dagster-run:{run_id}"


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
    for name, dataset in warehouse.datasets.items():
        if run.job_name in (landing_job(name), stream_job(name)) or run.asset_selection == {dataset_key(dataset)}:
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


_UNFINISHED = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def unfinished_runs(home: Path) -> int:
    """Runs of the Dagster home that have not ended yet."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return instance.get_runs_count(dg.RunsFilter(statuses=list(_UNFINISHED)))
