"""Watch, in the catalog, how far the sensors and the daemon have come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from timestore_assets.cli.daemon import Child
from timestore_assets.cli.demonstration.inputs import Input
from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.warehouse import Warehouse

POLL_SECONDS = 0.5
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


def look(warehouse: Warehouse, file: Input) -> Progress:
    """How far the dataset of a file is now."""
    _, record = warehouse.resolve(file.dataset)
    source = warehouse.catalog.source(record.id, file.source.kind, file.source.address)
    known = next((found for found in warehouse.catalog.files(source.id) if found.address == file.address), None)
    partitions = warehouse.catalog.partitions(record.id)
    refused = known is not None and known.state in ("quarantined", "rejected")
    return Progress(
        dataset=file.dataset,
        rows=sum(found.rows for found in partitions),
        file_landed=known is not None and known.state in SETTLED,
        partitions=len(partitions),
        built=sum(found.state == "sealed" for found in partitions),
        bad_file=f"{file.address} is {known.state}: {known.reason}" if known is not None and refused else "",
    )


def wait_until_built(
    warehouse: Warehouse, files: Sequence[Input], *, daemon: Child, timeout: float, show: Callable[[list[Progress]], None]
) -> list[Progress]:
    """Poll until every file is landed and every partition built, showing each look.

    Raises:
        DemoFailedError: a file was refused, or the time is over.
        UnavailableError: the daemon ended by itself.
    """
    limit = time.monotonic() + timeout
    while True:
        progress = [look(warehouse, file) for file in files]
        show(progress)
        if all(one.done for one in progress):
            return progress
        if bad := next((one.bad_file for one in progress if one.bad_file), None):
            raise DemoFailedError(bad)
        if time.monotonic() > limit:
            raise DemoFailedError(f"not finished after {timeout:.0f} s: {'; '.join(map(sentence, progress))}")
        if daemon.wait(POLL_SECONDS):
            raise UnavailableError(f"{daemon.name} ended by itself with code {daemon.exit_code}")


def sentence(progress: Progress) -> str:
    """For instance `nyc_weather: file landed, 26,115 rows, 120 of 364 partitions built`."""
    if not progress.file_landed and progress.rows == 0:
        return f"{progress.dataset}: waiting for the sensor"
    state = "landed" if progress.file_landed else "landing"
    return f"{progress.dataset}: file {state}, {progress.rows:,} rows, {progress.built} of {progress.partitions} partitions built"
