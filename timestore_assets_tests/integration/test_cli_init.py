"""`timestore init`: from somebody's file to a first query, by pasting what it prints."""

from __future__ import annotations

import gzip
import json
import shlex
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from timestore_assets_tests.command_line import CommandLine

START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS = 200


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def csv_text(separator: str = ",") -> str:
    lines = [separator.join(["Station ID", "when", "wind speed", "note"])]
    for i in range(ROWS):
        speed = "NA" if i % 50 == 7 else f"{i / 10:.1f}"
        lines.append(
            separator.join([f"S{i % 4}", f"{START + timedelta(minutes=15 * (i // 4)):%Y-%m-%dT%H:%M:%SZ}", speed, '"a, b; c"'])
        )
    return "\n".join(lines) + "\n"


def plain_csv(folder: Path) -> Path:
    path = folder / "Wind 2024-03.csv"
    path.write_text(csv_text())
    return path


def gzipped_semicolons(folder: Path) -> Path:
    path = folder / "wind.csv.gz"
    path.write_bytes(gzip.compress(csv_text(";").encode()))
    return path


def zipped_tabs(folder: Path) -> Path:
    path = folder / "wind.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("wind.tsv", csv_text("\t"))
    return path


def documents() -> list[dict[str, object]]:
    return [
        {
            "ts": f"{START + timedelta(minutes=i):%Y-%m-%d %H:%M:%S}",
            "value": i * 0.5,
            "tags": ["a"],
            "at": {"x": i, "y": 1.5},
            "odd": i if i % 2 else "text",
        }
        for i in range(ROWS)
    ]


def json_lines(folder: Path) -> Path:
    path = folder / "events.jsonl.zst"
    text = "".join(json.dumps(document) + "\n" for document in documents())
    path.write_bytes(zstandard.compress(text.encode()))
    return path


def parquet(folder: Path) -> Path:
    path = folder / "ticks.parquet"
    times = [START + timedelta(seconds=i) for i in range(ROWS)]
    table = pa.table(
        {
            "symbol": pa.array(["A", "B"] * (ROWS // 2)).dictionary_encode(),
            "time": pa.array(times, pa.timestamp("ns", tz="Europe/Berlin")),
            "price": pa.array([i * 0.25 for i in range(ROWS)], pa.float32()),
            "size": pa.array([None if i == 3 else i for i in range(ROWS)], pa.int16()),
        }
    )
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("make", [plain_csv, json_lines])
def test_what_it_prints_works_when_pasted(shell: CommandLine, make: Callable[[Path], Path]) -> None:
    proposed = shell.run("init", str(make(shell.folder)), "--yes", "--json").json
    for command in proposed["next"]:
        done = shell.shell(command)
        assert (done.code, done.err) == (0, ""), command
    check_landed(shell, proposed)


@pytest.mark.parametrize("make", [gzipped_semicolons, zipped_tabs, parquet])
def test_what_it_proposes_for_other_formats_works_too(shell: CommandLine, make: Callable[[Path], Path]) -> None:
    proposed = shell.inside("init", str(make(shell.folder)), "--json").json
    for command in proposed["next"]:
        name, *arguments = shlex.split(command)
        done = shell.inside(*arguments)
        assert (name, done.code, done.err) == ("timestore", 0, ""), command
    check_landed(shell, proposed)


def check_landed(shell: CommandLine, proposed: dict[str, Any]) -> None:
    assert proposed["records"] == ROWS
    (status,) = [entry for entry in shell.inside("status", "--json").json["datasets"] if entry["dataset"] == proposed["dataset"]]
    (source,) = status["sources"]
    assert (source["read"], source["landed"], source["dead_letters"]) == (ROWS, ROWS, 0)
    assert status["unbuilt_rows"] == 0


def test_the_commands_for_people_are_those_of_the_json(shell: CommandLine) -> None:
    file = plain_csv(shell.folder)
    printed = shell.inside("init", str(file))
    assert printed.code == 0
    commands = [line.strip() for line in printed.out.splitlines() if line.startswith("  timestore ")]
    again = shell.inside("init", str(file), "--force", "--json").json
    assert commands == again["next"]
    assert commands[0] == f"timestore land wind '{file}'"


def test_nulls_and_separators_are_written_down(shell: CommandLine) -> None:
    proposed = shell.inside("init", str(gzipped_semicolons(shell.folder)), "--json").json
    assert "nulls: [NA]" in proposed["declaration"]
    assert 'delimiter: ";"' in proposed["declaration"]
    assert "wind speed: {type: double, nullable: true}" in proposed["declaration"]
    assert "Station ID: {type: string}" in proposed["declaration"]
    assert "# dedupe: {keys: [Station ID, when], keep: last}" in proposed["declaration"]


def test_a_column_of_several_types_is_left_to_evolution(shell: CommandLine) -> None:
    proposed = shell.inside("init", str(json_lines(shell.folder)), "--json").json
    assert "# odd: values of several types; taken as it comes" in proposed["declaration"]
    assert "at: {type: 'struct<x: int64, y: double>'}" in proposed["declaration"]


def test_a_folder_of_its_own_is_announced_to_the_shell(shell: CommandLine) -> None:
    file = plain_csv(shell.folder)
    proposed = shell.inside("init", str(file), "--defs", "my defs", "--json").json
    export, land = proposed["next"][:2]
    assert export == f"export TIMESTORE_DEFS='{shell.folder}/my defs'"
    assert (shell.folder / "my defs" / "wind" / "defs.yaml").is_file()
    done = shell.shell(f"{export} && {land}")
    assert (done.code, done.err) == (0, "")


def test_an_existing_declaration_is_not_overwritten(shell: CommandLine) -> None:
    file = plain_csv(shell.folder)
    assert shell.inside("init", str(file)).code == 0
    again = shell.inside("init", str(file))
    assert again.code == 3
    assert "--force" in again.err
    assert again.err.count("\n") == 1
    assert shell.inside("init", str(file), "--force").code == 0


def test_a_declared_name_is_not_taken_twice_and_no_prefix_is_shared(shell: CommandLine) -> None:
    file = plain_csv(shell.folder)
    refused = shell.inside("init", str(file), "--name", "nyc_weather")
    assert refused.code == 3
    assert "already declared" in refused.err
    proposed = shell.inside("init", str(file), "--name", "weather", "--json").json
    assert "prefix: inbox/weather/," not in proposed["declaration"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"a,time\n", "has column names but no record"),
        (b"a,b\n1,2\n3,4\n", "has no time column: looked at a (int64), b (int64)"),
        (b"ts,v\n1356998400,1\n1356998401,2\n", "ts looks like seconds since 1970"),
        (b"date,v\n31/12/2013,1\n30/12/2013,2\n", "date looks like day and month with slashes"),
        (b"2013-01-01,1,2\n2013-01-02,3,4\n", "holds data (2013-01-01, 1, 2, …), not column names"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG image"),
        (b"<!doctype html><html><body>no</body></html>", "HTML"),
        (b"just words\nand more words\n", "is it a table"),
        ("ts,v\n2013-01-01,1\n".encode("utf-16"), "save it as UTF-8"),
        (b"a,a,time\n1,2,2013-01-01\n", "a"),
    ],
)
def test_what_is_no_table_with_a_time_is_refused_in_one_line(shell: CommandLine, content: bytes, part: str) -> None:
    file = shell.folder / "file.csv"
    file.write_bytes(content)
    done = shell.inside("init", str(file))
    assert done.code == 2
    assert part in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert not (shell.home / "defs").exists()


def test_missing_files_and_folders_are_refused(shell: CommandLine) -> None:
    assert "there is no file" in shell.inside("init", "nowhere.csv").err
    assert "is a folder" in shell.inside("init", ".").err
    assert "--window 'year' is not known" in shell.inside("init", str(plain_csv(shell.folder)), "--window", "year").err
    assert "--name is 'A b'" in shell.inside("init", str(plain_csv(shell.folder)), "--name", "A b").err


def test_only_the_beginning_of_a_long_file_is_looked_at(shell: CommandLine) -> None:
    file = shell.folder / "long.csv"
    with file.open("w") as text:
        text.write("time,value\n")
        text.writelines(f"2024-01-01T00:00:{i % 60:02d}Z,{i}\n" for i in range(600_000))
    proposed = shell.inside("init", str(file), "--json").json
    assert not proposed["complete"]
    assert "value: {type: int64, nullable: true}" in proposed["declaration"]
    assert "start: 2023-01-01" in proposed["declaration"]
    assert proposed["records"] < 600_000
