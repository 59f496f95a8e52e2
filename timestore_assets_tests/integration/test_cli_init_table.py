"""Files of many shapes: `init` and `land` take each without an edit, and their rows and times are those that DuckDB reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from timestore_assets_tests.support import shaped_files as shaped
from timestore_assets_tests.support.command_line import CommandLine

CSV, JSON = "read_csv('{}', all_varchar=true)", "read_json('{}')"
WORDS, SLASHES = "strptime({}, '%b %d %Y')", "strptime({}, '%Y/%m/%d %H:%M')"


@dataclass(frozen=True)
class Shape:
    """A file, and SQL that says what is in it: what reads it, and its time; none where DuckDB reads no such file."""

    make: shaped.Make
    table: str | None = None
    time: str = ""
    proposed: str = ""
    """A part of the proposed declaration."""


FILES = {
    "stocks.csv": Shape(shaped.of_vega("stocks.csv"), CSV, WORDS.format("date"), "# dedupe: {keys: [symbol, date]"),
    "ohlc.json": Shape(shaped.of_vega("ohlc.json"), JSON, "date::TIMESTAMP", "format: json"),
    "crimea.json": Shape(shaped.of_vega("crimea.json"), JSON, "date::TIMESTAMP", "format: json"),
    "seattle-weather.csv": Shape(shaped.of_vega("seattle-weather.csv"), CSV, "date::TIMESTAMP", "window: all"),
    "sf-temps.csv": Shape(shaped.of_vega("sf-temps.csv"), CSV, "date::TIMESTAMP", "window: year"),
    "la-riots.csv": Shape(shaped.of_vega("la-riots.csv"), CSV, "death_date::TIMESTAMP"),
    "us-employment.csv": Shape(shaped.of_vega("us-employment.csv"), CSV, "month::TIMESTAMP", "end: 2016-01-01"),
    "iowa-electricity.csv": Shape(shaped.of_vega("iowa-electricity.csv"), CSV, "year::TIMESTAMP", "keys: [source, year]"),
    "wheat.json": Shape(shaped.of_vega("wheat.json"), JSON, "make_timestamp(year::INT, 1, 1, 0, 0, 0)", 'format: "%Y"'),
    "driving.json": Shape(shaped.of_vega("driving.json"), JSON, "make_timestamp(year::INT, 1, 1, 0, 0, 0)", 'format: "%Y"'),
    "sp500.csv": Shape(shaped.lines("date,price,", "%b %d %Y"), CSV, WORDS.format("date"), 'format: "%b %d %Y"'),
    "github.csv": Shape(shaped.lines("time,count,", "%Y/%m/%d %H:%M:00"), CSV, "time::TIMESTAMP", "%Y/%m/%d %H:%M:%S"),
    "flights.json": Shape(shaped.array("date", "%Y/%m/%d %H:%M"), JSON, SLASHES.format("date"), "%Y/%m/%d %H:%M"),
    "movies.json": Shape(shaped.array("Release Date", "%b %d %Y", indent=2), JSON, WORDS.format('"Release Date"')),
    "gapminder.json": Shape(shaped.array("year", "year", indent=1), JSON, "make_timestamp(year::INT, 1, 1, 0, 0, 0)"),
    "disasters.csv": Shape(
        shaped.years("Year,Deaths", 1900, 118), CSV, "make_timestamp(Year::INT, 1, 1, 0, 0, 0)", "window: all"
    ),
    "co2.csv": Shape(shaped.lines("Date,CO2,", "%Y-%m-%d", "31{i}.25"), CSV, "Date::TIMESTAMP", "window: "),
    "global-temp.csv": Shape(shaped.years("year,temp", 1880, 144), CSV, "make_timestamp(year::INT, 1, 1, 0, 0, 0)"),
    "quakes.json": Shape(shaped.array("time", "ms", inside=("data", "features")), proposed="path: data.features"),
    "telemetry.jsonl": Shape(shaped.json_lines("s"), JSON, "make_timestamp(ts * 1000000)", "unit: s"),
    "german.csv": Shape(shaped.lines("zeit;wert;", "%d.%m.%Y %H:%M", "1.234,5{i}"), proposed='decimal: ","'),
    "meter.csv": Shape(shaped.lines("date,time,kwh,", "%Y-%m-%d,%H:%M"), CSV, "(date || ' ' || time)::TIMESTAMP", "columns: ["),
    "clocks.tsv": Shape(shaped.lines("at\tv\t", "%m/%d/%Y %I:%M %p"), proposed="%m/%d/%Y %I:%M %p"),
    "logger.csv": Shape(shaped.lines("# logger 7\ntime,v\n[UTC],[mm],", "%Y-%m-%d %H:%M:%S"), proposed="units_row: true"),
    "frames.arrow": Shape(shaped.arrow_file, proposed="format: arrow"),
    "frames.arrows": Shape(shaped.arrow_stream, proposed="format: arrow"),
    "stripes.orc": Shape(shaped.orc_file, proposed="format: orc"),
    "readings.avro": Shape(shaped.avro_file, proposed="v: {type: double, nullable: true}"),
    "station.xlsx": Shape(shaped.excel_file, proposed="skip: 2"),
}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Of each file what `init` proposed, what `land` said, and rows and times as SQL sees them."""
    folder = tmp_path_factory.mktemp("shapes")
    shell = CommandLine(folder)
    found: dict[str, dict[str, Any]] = {}
    for file, shape in FILES.items():
        path = folder / file
        shape.make(path)
        proposed = shell.inside("init", file, "--name", _name(file), "--json")
        landed = shell.inside("land", _name(file), file, "--json")
        found[file] = {"path": path, "proposed": proposed, "landed": landed}
    taken = {file: one["proposed"].json["time"] for file, one in found.items() if one["proposed"].code == 0}
    counts = " UNION ALL ".join(
        f"""SELECT '{file}', count(*), min("{time}"), max("{time}") FROM {_name(file)}""" for file, time in taken.items()
    )
    answer = shell.inside("sql", counts, "--format", "csv")
    for line in answer.out.splitlines()[1:]:
        file, count, first, last = line.split(",")
        found[file]["seen"] = (int(count), _time(first), _time(last))
    return found


def _name(file: str) -> str:
    return "shape_" + file.replace(".", "_").replace("-", "_")


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=None) if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def _expected(path: Path, shape: Shape) -> tuple[int, datetime, datetime]:
    if shape.table is None:
        first, last = shaped.HOURS[0], shaped.HOURS[-1]
        return len(shaped.HOURS), first.replace(tzinfo=None), last.replace(tzinfo=None)
    with duckdb.connect() as con:
        query = f"SELECT count(*), min(t), max(t) FROM (SELECT {shape.time} AS t FROM {shape.table.format(path)})"
        (row,) = con.execute(query).fetchall()
        return row


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_taken_as_it_comes(taken: dict[str, dict[str, Any]], file: str) -> None:
    one, shape = taken[file], FILES[file]
    assert shape.proposed in one["proposed"].json["declaration"]
    landed = one["landed"].json
    assert (landed["read"], landed["dead_letters"]) == (landed["landed"], 0)
    assert one["seen"] == _expected(one["path"], shape)
