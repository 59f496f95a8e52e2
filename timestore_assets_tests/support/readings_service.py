"""The dataset of `docs/first-dataset.md` with a week of rows, declared, landed and served as a person would do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.doc_pages import DocPage
from timestore_assets_tests.support.http_service import HttpService, serving

ADDRESS = "http://127.0.0.1:4100"
"""What the pages call the service."""
SENSORS = ("cellar", "kitchen")
ROWS = 7 * 24 * 2 * len(SENSORS)
"""From 1 to 7 March 2024, two an hour of each sensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingsService:
    line: CommandLine
    http: HttpService


def declare_readings(line: CommandLine) -> None:
    """Declare the dataset and land its rows."""
    declared = line.home / "defs" / "readings" / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(DocPage("first-dataset.md").of("yaml")[0], encoding="utf-8")
    rows = [
        f"2024-03-{day:02d}T{hour:02d}:{minute:02d}:00Z,{sensor},{celsius(day, hour, sensor)}"
        for day in range(1, 8)
        for hour in range(24)
        for minute in (0, 30)
        for sensor in SENSORS
    ]
    (line.folder / "week.csv").write_text("\n".join(["at,sensor,celsius", *rows, ""]), encoding="utf-8")
    assert line.inside("land", "readings", "week.csv", "--json").json["landed"] == ROWS


def celsius(day: int, hour: int, sensor: str) -> float:
    """Warmest at noon, each day a tenth warmer; the kitchen by eight degrees."""
    return round(12 + 8 * SENSORS.index(sensor) + day / 10 - abs(12 - hour) / 4, 2)


@contextmanager
def readings_service(folder: Path) -> Iterator[ReadingsService]:
    """The service over them, until the block ends."""
    line = CommandLine(folder)
    declare_readings(line)
    with Warehouse.open(Settings(home=line.home)) as warehouse, serving(warehouse) as http:
        yield ReadingsService(line=line, http=http)
