"""Recipes that bring data here from elsewhere, and mend it: their files and commands, as the pages have them."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.doc_pages import DOCS, DocPage


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_an_export_of_influxdb_lands_with_its_counts(line: CommandLine) -> None:
    page = DocPage("recipes/influxdb.md")
    page.write_files(line)
    shown = page.type_commands(line)
    assert re.search(r"read +4\b", shown)
    assert "columns: discard_value: table" in shown, "the nameless column and `result` hold nothing"
    rows = line.inside("query", "machines", "--json").json
    assert [row["at"] for row in rows] == ["2024-03-01T00:00:00Z"] * 2 + ["2024-03-01T00:00:10.25Z", "2024-03-02T00:00:00Z"]
    assert [row["pieces"] for row in rows] == [12, 9, 13, None]
    assert set(rows[0]) == {"at", "host", "line", "temperature", "pieces"}
    days = line.inside("query", "machines", "--every", "1d", "--agg", "count,count:temperature,sum:pieces", "--json").json
    assert [list(day.values())[1:] for day in days] == [[3, 3, 34], [1, 1, None]]


@pytest.mark.parametrize(("version", "file"), [(3, "export.parquet"), (1, "export.csv")])
def test_exports_of_other_versions_of_influxdb_land_as_the_page_says(line: CommandLine, version: int, file: str) -> None:
    page = DocPage("recipes/influxdb.md")
    page.write_files(line)
    declared = line.home / "defs" / "machines" / "defs.yaml"
    written = (DOCS / page.name).read_text().split("For Parquet of version 3")[1]
    times = dict(zip((3, 1), re.findall(r"`(times: [^`]+)`", written), strict=False))[version]
    declared.write_text(re.sub(r'comment: "#"\n +times: .*', times, declared.read_text()))
    moment = 1_709_251_200_250_000_000
    columns: dict[str, list[Any]] = {"time": [moment], "host": ["press-1"], "line": ["A"], "temperature": [61.5], "pieces": [12]}
    if version == 3:
        table = pa.table({**columns, "time": pa.array(columns["time"], pa.timestamp("ns"))})
        pq.write_table(table, line.folder / file)
    else:
        values = ",".join(str(value) for (value,) in columns.values())
        (line.folder / file).write_text(f"name,{','.join(columns)}\nmachines,{values}\n")
    assert line.inside("land", "machines", file, "--json").json["landed"] == 1
    (row,) = line.inside("query", "machines", "--json").json
    assert list(row.values()) == ["2024-03-01T00:00:00.25Z", "press-1", "A", 61.5, 12]


def test_a_hypertable_lands_and_compares_equal(line: CommandLine, postgres: PostgresServer) -> None:
    page = DocPage("recipes/timescaledb.md")
    page.write_files(line)
    with fresh_database(postgres) as url:
        with psycopg.connect(url) as database:
            database.execute(
                "CREATE TABLE conditions (time timestamptz NOT NULL, device text NOT NULL, celsius double precision,"
                " humidity numeric(5,2), door_open boolean, PRIMARY KEY (device, time))"
            )
            database.execute(
                "INSERT INTO conditions SELECT t, d, CASE WHEN extract(hour FROM t) <> 3 THEN random() * 30 END,"
                " round((random() * 100)::numeric, 2), random() > 0.5"
                " FROM generate_series('2024-01-01'::timestamptz, '2024-03-31 18:00+00', '6 hours') t,"
                " unnest(ARRAY['a', E'b, \"c\"']) d"
            )
        python = str(Path(sys.executable).parent)
        page.type_commands(line, SOURCE=url, PATH=f"{python}:{line.environment['PATH']}")
        with psycopg.connect(url) as database, database.cursor().copy(page.file("there.sql").encode()) as rows:
            there = b"".join(rows).decode()
    here = list(csv.reader(io.StringIO((line.folder / "here.csv").read_text())))
    assert len(here) == 92
    assert [[row[0][:10], *row[1:]] for row in here] == [[row[0][:10], *row[1:]] for row in csv.reader(io.StringIO(there))]
    assert {row["device"] for row in line.inside("query", "conditions", "--json").json} == {"a", 'b, "c"'}


def test_a_bad_day_is_replaced_and_the_versions_compared(line: CommandLine) -> None:
    page = DocPage("recipes/repair.md")
    page.write_files(line)
    shown = page.type_commands(line)
    assert "stale" in shown
    assert "version 3" in shown, "the page says which one to keep"
    sums = ("query", "meters", "--every", "1d", "--agg", "sum:kwh,count", "--json")
    assert [list(day.values())[1:] for day in line.inside(*sums, "--as-of", "3").json] == [[6.0, 2], [600.0, 2]]
    assert [list(day.values())[1:] for day in line.inside(*sums).json] == [[6.0, 2], [7.0, 3]]
