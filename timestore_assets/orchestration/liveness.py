"""Whether a run is really working. Dagster keeps a run STARTED for ever when its machine dies; a lease in the catalog expires."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import UnavailableError

TTL = timedelta(seconds=60)
GRACE = timedelta(seconds=60)
"""How long a started run may take to import its code and reach its lease."""
_WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
_WORKING = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


@contextmanager
def run_lease(catalog: Catalog, run_id: str) -> Iterator[None]:
    """Hold a run's lease, renewed by a thread, while its work goes on.

    A lease that can't be had (the run was resumed beside its own zombie) is no reason to stop: the catalog fences every commit.
    """
    lease = catalog.acquire(_resource(run_id), holder=run_id, ttl=TTL)
    if lease is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(catalog, lease, done), name="run-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=TTL.total_seconds())
        catalog.release(lease)


def _renew(catalog: Catalog, lease: Lease, done: threading.Event) -> None:
    held: Lease | None = lease
    while held is not None and not done.wait(TTL.total_seconds() / 4):
        try:
            held = catalog.renew(held, ttl=TTL)
        except UnavailableError:
            continue


def live_runs(instance: dg.DagsterInstance, catalog: Catalog, concerned: Callable[[dg.DagsterRun], bool]) -> list[dg.DagsterRun]:
    """Runs among the concerned that wait for their turn or are really at work."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[*_WAITING, *_WORKING]))
    now = datetime.now(UTC)
    return [record.dagster_run for record in records if concerned(record.dagster_run) and _lives(record, catalog, now)]


def _lives(record: dg.RunRecord, catalog: Catalog, now: datetime) -> bool:
    if record.dagster_run.status in _WAITING:
        return True
    if record.start_time is not None and now - datetime.fromtimestamp(record.start_time, UTC) < GRACE:
        return True
    lease = catalog.acquire(_resource(record.dagster_run.run_id), holder="sensor", ttl=timedelta(seconds=1))
    if lease is None:
        return True
    catalog.release(lease)
    return False


def _resource(run_id: str) -> str:
    return f"dagster-run:{run_id}"
