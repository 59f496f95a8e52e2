"""What a tick remembers of datasets that had nothing to do, so that it need not ask the catalog about each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import TIMESTAMP
from timestore_assets.orchestration.idle_datasets import IdleDatasets
from timestore_assets.orchestration.landing.idle_folders import IdleFolders
from timestore_assets.sources.files.file_listing import ListedFile, Listing

SOURCE = FileSource(prefix="inbox/weather/")
DATASET = Dataset(
    name="weather",
    schema=Schema(columns=(Column(name="at", type=TIMESTAMP),)),
    time="at",
    start=datetime(2024, 1, 1, tzinfo=UTC),
    sources=(SOURCE,),
)
FILE = ListedFile(address="a.csv", size=3, etag="1")
LISTING = Listing(files=(FILE,))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_folder_is_idle_while_its_listing_is_the_same() -> None:
    idle = IdleFolders(Clock())
    assert not idle.holds(DATASET, SOURCE, LISTING)
    idle.remember(DATASET, SOURCE, LISTING)
    assert idle.holds(DATASET, SOURCE, Listing(files=(replace(FILE),)))
    changed = Listing(files=(replace(FILE, etag="2"),))
    more = Listing(files=(FILE, replace(FILE, address="b.csv")))
    assert not any(idle.holds(DATASET, SOURCE, listing) for listing in (changed, more, Listing(files=())))
    assert not idle.holds(replace(DATASET, name="other"), SOURCE, LISTING)


def test_the_catalog_is_asked_again_after_a_minute_at_most() -> None:
    clock = Clock()
    idle = IdleFolders(clock)
    idle.remember(DATASET, SOURCE, LISTING)
    clock.now += 29.0
    assert idle.holds(DATASET, SOURCE, LISTING)
    clock.now += 32.0
    assert not idle.holds(DATASET, SOURCE, LISTING)


def test_nothing_is_needed_at_the_same_version_while_all_is_built() -> None:
    clock = Clock()
    idle = IdleDatasets(clock)
    assert not idle.holds("weather", 3)
    idle.remember("weather", 3, waiting=False)
    clock.now += 1e9
    assert idle.holds("weather", 3)
    assert not idle.holds("weather", 4)
    assert not idle.holds("weather", None)


def test_rows_that_wait_for_a_threshold_are_looked_at_again() -> None:
    clock = Clock()
    idle = IdleDatasets(clock)
    idle.remember("weather", 3, waiting=True)
    assert idle.holds("weather", 3)
    clock.now += 11.0
    assert not idle.holds("weather", 3)


def test_a_dataset_that_was_not_registered_is_never_idle() -> None:
    idle = IdleDatasets(Clock())
    idle.remember("weather", None, waiting=False)
    assert not idle.holds("weather", None)
