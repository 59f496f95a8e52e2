"""Watch, in the catalog, how far the sensors and the daemon have come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.catalog.port import Catalog
from timestore_assets.cli.daemon import Child
from timestore_assets.cli.demonstration.inputs import Input
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.warehouse import Warehouse

POLL_SECONDS = 1.0
SETTLED = ("landed", "duplicate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a dataset is. `bad_file`: why its file could not be landed, empty when it could."""

    dataset: str
    rows: int
    file_landed: bool
    partitions: int
    built: int
    bad_file: str = ""

    @property
    def done(self) -> bool:
        return self.file_landed and 0 < self.partitions == self.built


class DemoFailedError(TimestoreError):
    """The daemon did not get there; the message says how far it came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What to look up for a file, so that looking writes nothing."""

    file: Input
    dataset_id: int
    source_id: int


def watched(warehouse: Warehouse, file: Input) -> Watched:
    """Register the file's dataset and source, as the sensor will."""
    _, record = warehouse.resolve(file.dataset)
    source = warehouse.catalog.source(record.id, file.source.kind, file.source.address)
    return Watched(file=file, dataset_id=record.id, source_id=source.id)


def look(catalog: Catalog, watch: Watched) -> Progress:
    """How far the dataset of a file is now."""
    address = watch.file.address
    known = next((found for found in catalog.files(watch.source_id) if found.address == address), None)
    partitions = catalog.partitions(watch.dataset_id)
    refused = known is not None and known.state in ("quarantined", "rejected")
    return Progress(
        dataset=watch.file.dataset,
        rows=sum(found.rows for found in partitions),
        file_landed=known is not None and known.state in SETTLED,
        partitions=len(partitions),
        built=sum(found.state == "sealed" for found in partitions),
        bad_file=f"{address} is {known.state}: {known.reason}" if known is not None and refused else "",
    )


def wait_until_built(
    catalog: Catalog, watches: Sequence[Watched], *, daemon: Child, timeout: float, show: Callable[[list[Progress]], None]
) -> list[Progress]:
    """Poll until every file is landed and every partition built, showing each look.

    Raises:
        DemoFailedError: a file was refused, or the time is over.
        UnavailableError: the daemon ended by itself.
    """
    limit = time.monotonic() + timeout
    while True:
        progress = [look(catalog, watch) for watch in watches]
        show(progress)
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
    from timestore_assets.orchestration.idle import unfinished_runs

    limit = time.monotonic() + timeout
    while unfinished_runs(home) and time.monotonic() < limit and not daemon.wait(POLL_SECONDS):
        pass


def sentence(progress: Progress) -> str:
    """For instance `nyc_weather: file landed, 26,115 rows, 120 of 364 partitions built`."""
    if not progress.file_landed and progress.rows == 0:
        return f"{progress.dataset}: waiting for the sensor"
    state = "landed" if progress.file_landed else "landing"
    return f"{progress.dataset}: file {state}, {progress.rows:,} rows, {progress.built} of {progress.partitions} partitions built"
