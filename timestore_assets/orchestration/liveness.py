"""Whether a run is really working. Dagster keeps a run STARTED for ever when its machine dies; a lease in the catalog expires."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import dagster as dg

from timestore_assets.catalog.port import Catalog
from timestore_assets.catalog.records import Lease
from timestore_assets.model.errors import UnavailableError

TTL = timedelta(seconds=60)
GRACE = timedelta(seconds=60)
"""How long a started run may take to import its code and reach its lease."""
_SOON_SECONDS = 2.0
_WAITING = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
_WORKING = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


@contextmanager
def run_lease(catalog: Catalog, run_id: str) -> Iterator[None]:
    """Hold a run's lease, renewed by a thread, while its work goes on.

    A lease that can't be had (the run was resumed beside its own zombie) is no reason to stop: the catalog fences every commit.
    """
    holding = _Holding(catalog, run_id)
    thread = threading.Thread(target=holding.renew, name="run-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        holding.done.set()
        thread.join(timeout=TTL.total_seconds())
        if holding.lease is not None:
            catalog.release(holding.lease)


class _Holding:
    """A lease that is had now or as soon as it can be: a sensor that looks whether it is free takes it for an instant."""

    def __init__(self, catalog: Catalog, run_id: str) -> None:
        self._catalog, self._run_id = catalog, run_id
        self.done = threading.Event()
        self.lease: Lease | None = None
        self._take()

    def _take(self) -> None:
        self.lease = self._catalog.acquire(_resource(self._run_id), holder=self._run_id, ttl=TTL)

    def renew(self) -> None:
        while not self.done.wait(TTL.total_seconds() / 4 if self.lease is not None else _SOON_SECONDS):
            with suppress(UnavailableError):
                if self.lease is None:
                    self._take()
                else:
                    self.lease = self._catalog.renew(self.lease, ttl=TTL)


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
    return not lease_is_free(catalog, record.dagster_run.run_id)


def lease_is_free(catalog: Catalog, run_id: str) -> bool:
    """Whether nobody holds a run's lease, found out by taking it for an instant."""
    lease = catalog.acquire(_resource(run_id), holder="sensor", ttl=timedelta(seconds=1))
    if lease is None:
        return False
    catalog.release(lease)
    return True


def _resource(run_id: str) -> str:
    return f"dagster-run:{run_id}"
