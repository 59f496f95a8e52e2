"""Watch, in the catalog, how far the sensors and the daemon have come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.cli.dagster_processes import Child
from timestore_assets.cli.demo.demo_feed import Feed
from timestore_assets.cli.demo.demo_inputs import Input, StreamInput
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.warehouse import Warehouse

POLL_SECONDS = 1.0
SETTLED = ("landed", "duplicate")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoProgress:
    """How far a dataset is."""

    dataset: str
    what: str
    rows: int
    landed: bool
    """All of its input is."""
    partitions: int
    built: int
    bad_file: str = ""
    """Why its file could not be landed, empty when it could."""

    @property
    def done(self) -> bool:
        return self.landed and 0 < self.partitions == self.built


class DemoFailedError(TimestoreError):
    """The daemon did not get there; the message says how far it came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What to look up for an input, so that looking writes nothing."""

    file: Input | StreamInput
    dataset_id: int
    source_id: int


def watched(warehouse: Warehouse, file: Input | StreamInput) -> Watched:
    """Register the input's dataset and source, as the sensor will."""
    _, record = warehouse.resolve(file.dataset)
    source = warehouse.catalog.sources.ensure(record.id, file.source.kind, file.source.address)
    return Watched(file=file, dataset_id=record.id, source_id=source.id)


def look(catalog: Catalog, watch: Watched) -> DemoProgress:
    """How far the dataset of an input is now."""
    partitions = catalog.partitions.of(watch.dataset_id)
    state, reason = _state(catalog, watch)
    return DemoProgress(
        dataset=watch.file.dataset,
        what="file" if isinstance(watch.file, Input) else "topic",
        rows=sum(found.rows for found in partitions),
        landed=state in SETTLED,
        partitions=len(partitions),
        built=sum(found.state == "sealed" for found in partitions),
        bad_file=f"{watch.file.original.name} is {state}: {reason}" if state in ("quarantined", "rejected") else "",
    )


def _state(catalog: Catalog, watch: Watched) -> tuple[str, str]:
    """State of the input, as of a file, and why it is in it."""
    file = watch.file
    if isinstance(file, Input):
        known = next((found for found in catalog.files.of(watch.source_id) if found.address == file.address), None)
        return (known.state, known.reason) if known is not None else ("", "")
    source = next(found for found in catalog.sources.of(watch.dataset_id) if found.id == watch.source_id)
    return ("landed" if source.counters.read >= file.records else "landing", "")


def wait_until_built(
    catalog: Catalog,
    watches: Sequence[Watched],
    *,
    daemon: Child,
    timeout: float,
    show: Callable[[list[DemoProgress]], None],
    feed: Feed,
) -> list[DemoProgress]:
    """Poll until every input is landed and every partition built, showing each look.

    Raises:
        DemoFailedError: a file was refused, or the time is over.
        UnavailableError: the daemon ended by itself, or the broker took nothing more.
    """
    limit = time.monotonic() + timeout
    while True:
        progress = [look(catalog, watch) for watch in watches]
        show(progress)
        feed.raise_failure()
        if all(one.done for one in progress):
            return progress
        if bad := next((one.bad_file for one in progress if one.bad_file), None):
            raise DemoFailedError(bad)
        if time.monotonic() > limit:
            raise DemoFailedError(f"not finished after {timeout:.0f} s: {'; '.join(map(sentence, progress))}")
        if daemon.wait(POLL_SECONDS):
            raise UnavailableError(f"{daemon.name} ended by itself with code {daemon.exit_code}")


def wait_until_idle(home: Path, *, daemon: Child, timeout: float) -> None:
    """Poll until Dagster has no run left that has not ended; gives up silently when the time is over."""
    from timestore_assets.orchestration.liveness import unfinished_runs

    limit = time.monotonic() + timeout
    while unfinished_runs(home) and time.monotonic() < limit and not daemon.wait(POLL_SECONDS):
        pass


def wait_until_whole(home: Path, datasets: Sequence[Dataset], *, daemon: Child, timeout: float) -> None:
    """Poll until Dagster shows every partition, also those that stayed without rows; gives up silently when the time is over."""
    from timestore_assets.orchestration.empty_window_events import unfilled

    limit = time.monotonic() + timeout
    while unfilled(home, datasets) and time.monotonic() < limit and not daemon.wait(POLL_SECONDS):
        pass


def sentence(progress: DemoProgress) -> str:
    """For instance `nyc_weather: file landed, 26,115 rows, 120 of 364 partitions built`."""
    if not progress.landed and progress.rows == 0:
        return f"{progress.dataset}: waiting for the sensor"
    state = "landed" if progress.landed else "landing"
    built = f"{progress.built} of {progress.partitions} partitions built"
    return f"{progress.dataset}: {progress.what} {state}, {progress.rows:,} rows, {built}"
