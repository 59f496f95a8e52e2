"""`timestore init`: from somebody's file to a first query, by pasting what it prints."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from timestore_assets.cli.demo.demo_declarations import DEMO_DEFS
from timestore_assets.cli.proposal import sample
from timestore_assets_tests.support.command_line import CommandLine

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


def test_what_it_prints_works_when_pasted(shell: CommandLine) -> None:
    proposed = shell.run("init", str(plain_csv(shell.folder)), "--yes", "--json").json
    for command in proposed["next"]:
        done = shell.shell(command)
        assert (done.code, done.err) == (0, ""), command
    check_landed(shell, proposed)


@pytest.mark.parametrize("make", [gzipped_semicolons, zipped_tabs, json_lines, parquet])
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


class Typed(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "options", "dedupe"),
    [
        ("y\ny\n", (), "  dedupe: {keys: [Station ID, when], keep: last}  # later"),
        ("\n\n", (), "  # dedupe: {keys: [Station ID, when], keep: last}\n"),
        ("", ("--yes",), "  # dedupe: {keys: [Station ID, when], keep: last}\n"),
        ("", ("--yes", "--replace"), "  dedupe: {keys: [Station ID, when], keep: last}  # later"),
    ],
)
def test_a_person_says_whether_equal_keys_replace(
    shell: CommandLine, monkeypatch: pytest.MonkeyPatch, typed: str, options: tuple[str, ...], dedupe: str
) -> None:
    monkeypatch.setattr("sys.stdin", Typed(typed))
    done = shell.inside("init", str(plain_csv(shell.folder)), *options)
    assert done.code == 0, done.err
    assert ("Shall a later one with the same Station ID and when replace the earlier one?" in done.out + done.err) is bool(typed)
    assert dedupe in (shell.home / "defs" / "wind" / "defs.yaml").read_text()


def test_a_file_that_was_exported_again_is_told_unless_keys_replace(shell: CommandLine) -> None:
    file = plain_csv(shell.folder)
    again = shell.folder / "again.csv"
    again.write_text(file.read_text().replace("S0,2024-03-01T00:00:00Z,0.0", "S0,2024-03-01T00:00:00Z,9.9"))
    told_of = "199 rows look like rows that were there before"
    for name, options, says in (("doubled", (), told_of), ("keyed", ("--replace",), "")):
        shell.inside("init", str(file), "--name", name, "--yes", *options)
        assert "look like rows" not in shell.inside("land", name, str(file)).out
        told = shell.inside("land", name, str(again))
        assert (told.code, "look like rows" in told.out) == (0, bool(says)), told.err
        assert says in told.out


def test_keys_that_are_not_certain_can_not_be_asked_for(shell: CommandLine) -> None:
    (shell.folder / "a.csv").write_text("at,v\n2024-01-01,1\n2024-01-01,1\n")
    done = shell.inside("init", "a.csv", "--replace")
    assert (done.code, "no columns of a.csv are certain to be unique" in done.err) == (2, True)


def test_the_footer_of_a_large_parquet_file_tells_what_was_not_read(shell: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 100)
    times = [START + timedelta(minutes=i) for i in range(300)]
    table = pa.table({"at": pa.array(times, pa.timestamp("us")), "v": range(300)})
    pq.write_table(table, shell.folder / "a.parquet", row_group_size=50)
    proposed = shell.inside("init", "a.parquet", "--json").json
    assert (proposed["records"], proposed["estimated_records"], proposed["whole_range"]) == (100, 300, True)
    assert proposed["last"].startswith("2024-03-01T04:59")
    told = shell.inside("init", "a.parquet", "--force").out
    assert "parquet, the first 100 of 300 records, 2024-03-01 to 2024-03-01\n" in told
    (shell.folder / "a.csv").write_text("at,v\n" + "".join(f"{time:%Y-%m-%dT%H:%M},1\n" for time in times))
    assert "2024-03-01 to 2024-03-01 in that part\n" in shell.inside("init", "a.csv", "--force").out


def test_a_clock_that_is_no_part_of_the_time_is_told(shell: CommandLine) -> None:
    lines = "".join(f"2024-03-{day:02d},{day}:30,{day}:45\n" for day in range(1, 21))
    (shell.folder / "a.csv").write_text("date,begin,end\n" + lines)
    remarks = shell.inside("init", "a.csv", "--time", "date", "--json").json["remarks"]
    assert any("begin, end look like times of day and are no part of the time" in remark for remark in remarks), remarks


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
    shutil.copytree(DEMO_DEFS / "nyc_weather", shell.home / "defs" / "elsewhere")
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
        (b"date,v\n01/02/2013,1\n05/01/2013,2\n03/04/2013,2\n", "could be %d/%m/%Y or %m/%d/%Y; say which with --time-format"),
        (b"2013-01-01,1,2\n2013-01-02,3,4\n", "holds data (2013-01-01, 1, 2, …), not column names"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG image"),
        (b"<!doctype html><html><body>no</body></html>", "HTML"),
        (b"just words\nand more words\n", "is it a table"),
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
    assert "--window 'decade' is not known" in shell.inside("init", str(plain_csv(shell.folder)), "--window", "decade").err
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


def test_a_csv_file_of_pandas_with_its_index_needs_no_edit(shell: CommandLine) -> None:
    (shell.folder / "frame.csv").write_text(",at,v\n0,2024-01-01T00:00:00Z,1\n1,2024-01-01T01:00:00Z,7\n")
    (shell.folder / "series.csv").write_text(",v\n2024-01-01 00:00:00,1\n2024-01-01 01:00:00,7\n")
    for name, time in (("frame", "at"), ("series", "time")):
        assert shell.inside("init", f"{name}.csv", "--yes").code == 0
        done = shell.inside("land", name, f"{name}.csv")
        assert ("left out, an index without a name: __index_level_0__" in done.out) == (name == "frame"), done.out
        assert "new_columns" not in done.out
        rows = shell.inside("query", name, "--json").json
        assert [list(row.items()) for row in rows] == [
            [(time, "2024-01-01T00:00:00Z"), ("v", 1)],
            [(time, "2024-01-01T01:00:00Z"), ("v", 7)],
        ]
