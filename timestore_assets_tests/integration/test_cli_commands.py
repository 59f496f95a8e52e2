"""The commands against a real warehouse: what they print, the JSON that scripts rely on, exit codes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest

from timestore_assets_tests.support.command_line import CommandLine

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: meters
  description: Power meters of a house
  columns:
    meter: {type: string, isin: [kitchen, cellar]}
    at: {type: timestamp}
    watts: {type: double, nullable: true, unit: W, ge: 0, allow_nan: true}
  time: at
  window: day
  start: 2024-01-01
  dedupe: {keys: [meter, at], keep: last}
  sources:
    - files: {prefix: inbox/meters/, format: csv}
"""
HEADER = "meter,at,watts\n"
FIRST = "kitchen,2024-01-01T00:00:00Z,10\ncellar,2024-01-01T12:00:00Z,30.5\nkitchen,2024-01-02T00:00:00Z,NaN\n"


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    line = CommandLine(tmp_path)
    declaration = line.home / "defs" / "meters" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(DECLARATION)
    return line


def write(shell: CommandLine, name: str, rows: str) -> str:
    (shell.folder / name).write_text(HEADER + rows)
    return name


@pytest.fixture
def landed(shell: CommandLine) -> CommandLine:
    assert shell.inside("land", "meters", write(shell, "first.csv", FIRST)).code == 0
    return shell


def test_what_is_declared(shell: CommandLine) -> None:
    (entry,) = [entry for entry in shell.inside("datasets", "--json").json if entry["dataset"] == "meters"]
    assert entry["window"] == "day"
    described = shell.inside("describe", "meters", "--json").json
    assert described["dedupe"] == {"keys": ["meter", "at"], "keep": "last", "by": None}
    assert [column["name"] for column in described["schema"]["columns"]] == ["meter", "at", "watts"]
    text = shell.inside("describe", "meters").out
    for part in ("Power meters of a house", "one of kitchen, cellar", "≥ 0", "meter, at: keep last", "inbox/meters"):
        assert part in text


def test_an_unknown_dataset_names_the_nearest(shell: CommandLine) -> None:
    done = shell.inside("describe", "metres")
    assert (done.code, done.err) == (2, "error: no dataset is named 'metres'; did you mean 'meters'?\n")


def test_landing_counts(shell: CommandLine) -> None:
    rows = FIRST + "attic,2024-01-01T00:00:00Z,1\nkitchen,soon,1\n"
    report = shell.inside("land", "meters", write(shell, "first.csv", rows), "--json").json
    counts = [report[name] for name in ("read", "landed", "duplicates", "late_dropped", "held", "dead_letters")]
    assert counts == [5, 3, 0, 0, 0, 2]
    assert report["partitions"] == ["2024-01-01", "2024-01-02"]
    assert [file["state"] for file in report["files"]] == ["landed"]
    assert sum(report["dead_letter_reasons"].values()) == 2


def test_the_table_says_what_to_type_next(shell: CommandLine) -> None:
    done = shell.inside("land", "meters", write(shell, "first.csv", FIRST + "attic,2024-01-01T00:00:00Z,1\n"))
    assert done.code == 0
    assert "1 landed" in done.out
    assert "timestore deadletters show meters" in done.out
    assert "timestore build meters" in done.out


def test_landing_again_is_a_duplicate_and_fine(landed: CommandLine) -> None:
    report = landed.inside("land", "meters", "first.csv", "--json").json
    assert [file["state"] for file in report["files"]] == ["duplicate"]
    assert report["landed"] == 0


def test_a_changed_file_is_refused_with_3(landed: CommandLine) -> None:
    write(landed, "first.csv", FIRST + "cellar,2024-01-03T00:00:00Z,1\n")
    done = landed.inside("land", "meters", "first.csv")
    assert done.code == 3
    assert done.err.startswith("rejected: ")


def test_a_bad_file_is_2_and_stops_no_other(shell: CommandLine) -> None:
    (shell.folder / "bad.csv").write_bytes(b"PAR1 and then nothing")
    done = shell.inside("land", "meters", "bad.csv", write(shell, "first.csv", FIRST))
    assert done.code == 2
    assert "quarantined: " in done.err
    assert "bad.csv" in done.err
    assert [row["rows"] for row in shell.inside("partitions", "meters", "--json").json] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["first.csv", "--format", "xml"], "--format 'xml' is not known"),
    ],
)
def test_bad_land_arguments(landed: CommandLine, arguments: list[str], part: str) -> None:
    done = landed.inside("land", "meters", *arguments)
    assert done.code == 2
    assert part in done.err


def test_partitions_in_the_agreed_shape(landed: CommandLine) -> None:
    rows = landed.inside("partitions", "meters", "--json").json
    agreed = {"partition", "start", "end", "state", "rows", "bytes", "segments", "deltas", "schema_version"}
    assert all(agreed <= row.keys() for row in rows)
    first = {name: rows[0][name] for name in sorted(agreed - {"bytes"})}
    assert first == {
        "deltas": 1,
        "end": "2024-01-02T00:00:00Z",
        "partition": "2024-01-01",
        "rows": 2,
        "schema_version": 1,
        "segments": 1,
        "start": "2024-01-01T00:00:00Z",
        "state": "open",
    }


def test_status_in_the_agreed_shape(landed: CommandLine) -> None:
    report = landed.inside("status", "--json").json
    (entry,) = [entry for entry in report["datasets"] if entry["dataset"] == "meters"]
    assert {"manifest_version", "rows", "bytes", "partitions"} <= entry.keys()
    (source,) = entry["sources"]
    assert source["lag"] is None
    assert {"source", "rows_per_second", "paused", "watermark"} <= source.keys()
    assert source["read"] == source["landed"] == 3
    assert "meters" in landed.inside("status").out


def test_build_all_then_nothing(landed: CommandLine) -> None:
    report = landed.inside("build", "meters", "--json").json
    assert (report["built"], report["rows"]) == (2, 3)
    assert [(row["partition"], row["state"], row["deltas"]) for row in landed.inside("partitions", "meters", "--json").json] == [
        ("2024-01-01", "sealed", 0),
        ("2024-01-02", "sealed", 0),
    ]
    assert landed.inside("build", "meters", "--json").json["partitions"] == []
    assert "Nothing to build" in landed.inside("build", "meters").out


def test_build_gives_the_counters_of_every_command(landed: CommandLine) -> None:
    built = landed.inside("build", "meters", "--json").json
    assert [built[name] for name in ("read", "landed", "duplicates", "late_dropped", "held", "dead_letters")] == [0] * 6


def test_build_what_is_named(landed: CommandLine) -> None:
    assert landed.inside("build", "meters", "--partition", "2024-01-02", "--json").json["built"] == 1
    assert [row["state"] for row in landed.inside("partitions", "meters", "--json").json] == ["open", "sealed"]
    table = landed.inside("build", "meters", "--from", "2024-01-01", "--to", "2024-01-02")
    assert "1 partition " in table.out
    assert [row["state"] for row in landed.inside("partitions", "meters", "--json").json] == ["sealed", "sealed"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--partition", "01.01.2024"], "is not a day partition; write it like"),
        (["--partition", "2024-01-01", "--from", "2024-01-01"], "not both"),
        (["--from", "2024-01-02", "--to", "2024-01-01"], "is not before"),
        (["--from", "soon"], "is not a time"),
    ],
)
def test_bad_build_arguments(landed: CommandLine, arguments: list[str], part: str) -> None:
    done = landed.inside("build", "meters", *arguments)
    assert done.code == 2
    assert part in done.err


def test_a_late_row_makes_a_partition_stale_and_a_build_heals_it(landed: CommandLine) -> None:
    landed.inside("build", "meters")
    landed.inside("land", "meters", write(landed, "late.csv", "kitchen,2024-01-01T00:00:00Z,11\n"))
    assert landed.inside("partitions", "meters", "--json").json[0]["state"] == "stale"
    (built,) = landed.inside("build", "meters", "--json").json["partitions"]
    assert (built["state"], built["rows"], built["superseded_rows"]) == ("sealed", 2, 1)


def test_query_json_has_zulu_times_and_null_for_nan(landed: CommandLine) -> None:
    rows = landed.run("query", "meters", "--json").json
    assert rows[0] == {"meter": "kitchen", "at": "2024-01-01T00:00:00Z", "watts": 10.0}
    assert rows[2]["watts"] is None
    assert landed.inside("query", "meters", "--format", "json").json == rows


def test_query_options(landed: CommandLine) -> None:
    done = landed.inside(
        *("query", "meters", "--from", "2024-01-01", "--to", "2024-01-02", "--where", "watts > 5"),
        *("--every", "1d", "--agg", "max:watts as top,count", "--by", "meter", "--json"),
    )
    assert [(row["meter"], row["top"], row["count"]) for row in done.json] == [("cellar", 30.5, 1), ("kitchen", 10.0, 1)]
    chosen = landed.inside("query", "meters", "--columns", "watts, meter", "--limit", "1", "--format", "csv")
    assert chosen.out == "watts,meter\n10.0,kitchen\n"
    assert "kitchen" in landed.inside("query", "meters").out


def test_query_of_an_earlier_version(landed: CommandLine) -> None:
    version = landed.inside("describe", "meters", "--json").json["manifest_version"]
    landed.inside("land", "meters", write(landed, "more.csv", "cellar,2024-01-05T00:00:00Z,1\n"))
    assert len(landed.inside("query", "meters", "--json").json) == 4
    assert len(landed.inside("query", "meters", "--as-of", str(version), "--json").json) == 3
    assert landed.inside("query", "meters", "--as-of", "99").code == 3


def test_arrow_goes_to_a_pipe(landed: CommandLine) -> None:
    script = str(landed.folder / "bin" / "timestore")
    command = [script, "query", "meters", "--format", "arrow"]
    done = subprocess.run(command, env=landed.environment, capture_output=True, timeout=60, check=True)
    table = pa.ipc.open_file(done.stdout).read_all()
    assert table.num_rows == 3
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert math.isnan(table.column("watts")[2].as_py())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--format", "xml"], "--format 'xml' is not known"),
        (["--json", "--format", "csv"], "contradict each other"),
        (["--columns", "wats"], "did you mean watts"),
        (["--every", "1h"], "needs aggregates"),
        (["--every", "often", "--agg", "count"], "is no bucket length"),
        (["--agg", "maen:watts"], "there is no aggregate 'maen'; did you mean mean?"),
        (["--last", "1", "--limit", "1"], "give one of them"),
        (["-o", "answer"], "its name says no format; end it in one of .json, "),
        (["-o", "answer.csv", "--expanded"], "--expanded is for people"),
        (["-o", "nowhere/answer.csv"], "there is no folder"),
        (["-o", "."], "says no format"),
        (["--from", "soon"], "is not a time"),
    ],
)
def test_bad_query_arguments(landed: CommandLine, arguments: list[str], part: str) -> None:
    done = landed.inside("query", "meters", *arguments)
    assert done.code == 2
    assert part in done.err
    assert done.err.count("\n") == 1


def test_sql(landed: CommandLine) -> None:
    done = landed.inside("sql", "SELECT meter, count(*) AS n FROM meters GROUP BY meter ORDER BY meter", "--json")
    assert done.json == [{"meter": "cellar", "n": 1}, {"meter": "kitchen", "n": 2}]
    for text in ("DROP TABLE meters", "SELECT * FROM '/etc/passwd'", "SELECT 1; SELECT 2", "SELEC 1"):
        refused = landed.inside("sql", text)
        assert refused.code in (2, 3), text
        assert refused.err.count("\n") == 1


def test_dead_letters(shell: CommandLine) -> None:
    assert "has no dead letters" in shell.inside("deadletters", "list", "meters").out
    shell.inside("land", "meters", write(shell, "first.csv", FIRST + "attic,2024-01-01T00:00:00Z,1\nkitchen,soon,é\n"))
    listed = shell.inside("deadletters", "list", "meters", "--json").json
    assert sum(row["records"] for row in listed) == 2
    assert {row["source"] for row in listed} == {"files:inbox/meters/**/*"}
    shown = shell.inside("deadletters", "show", "meters", "--json").json
    assert [(row["line"], row["raw"].strip()) for row in shown] == [(5, "attic,2024-01-01T00:00:00Z,1"), (6, "kitchen,soon,é")]
    only = shell.inside("deadletters", "show", "meters", "--reason", shown[0]["code"], "--json").json
    assert [row["line"] for row in only] == [5]
    assert "attic,2024-01-01T00:00:00Z,1" in shell.inside("deadletters", "show", "meters").out
    assert len(shell.inside("deadletters", "show", "meters", "--limit", "1", "--json").json) == 1


def test_schema_history_shows_what_evolved(landed: CommandLine) -> None:
    (landed.folder / "wider.csv").write_text("meter,at,watts,phase\nkitchen,2024-01-03T00:00:00Z,1,2\n")
    report = landed.inside("land", "meters", "wider.csv", "--json").json
    assert [(change["column"], change["after"]) for change in report["schema_changes"]] == [("phase", "int64")]
    versions = landed.inside("schema", "history", "meters", "--json").json
    assert [version["version"] for version in versions] == [2, 1]
    assert "phase added as int64" in landed.inside("schema", "history", "meters").out
    assert "phase" in landed.inside("schema", "show", "meters").out
    assert len(landed.inside("schema", "show", "meters", "--version", "1", "--json").json["columns"]) == 3
    assert "versions 1 to 2; there is no 9" in landed.inside("schema", "show", "meters", "--version", "9").err


def test_schema_events_show_what_made_each_version(landed: CommandLine) -> None:
    (landed.folder / "wider.csv").write_text("meter,at,watts,phase\nkitchen,2024-01-03T00:00:00Z,1,2\n")
    landed.inside("land", "meters", "wider.csv")
    newest, first = landed.inside("schema", "events", "meters", "--json").json
    assert (newest["version"], newest["cause"]["columns"]["phase"]["sample"], first["cause"]) == (2, "2", {"kind": "declaration"})
    shown = landed.inside("schema", "events", "meters").out
    assert "phase added as int64" in shown
    assert "line 2" in shown
    assert [event["version"] for event in landed.inside("schema", "events", "meters", "--before", "2", "--json").json] == [1]
    assert "Nothing of meters is to be landed again" in landed.inside("schema", "reloads", "meters").out


def test_verify_and_gc(landed: CommandLine) -> None:
    landed.inside("build", "meters")
    (report,) = landed.inside("verify", "meters", "--json").json
    assert (report["ok"], report["rows"], report["hashed_partitions"]) == (True, 3, 2)
    assert landed.inside("gc", "--json").json["orphaned_files"] == 0
    segment = next((landed.home / "data" / "meters" / "2024-01-01").glob("sealed*"))
    segment.unlink()
    done = landed.inside("verify", "meters")
    assert done.code == 1
    assert "missing" in done.out
    assert segment.name in done.out


def test_a_broken_declaration_is_one_line_with_its_place(shell: CommandLine) -> None:
    file = shell.home / "defs" / "meters" / "defs.yaml"
    file.write_text(DECLARATION.replace("watts: {type: double,", "watts: {type: dubble,"))
    done = shell.inside("datasets")
    assert done.code == 2
    assert f"{file}:9: columns.watts.type" in done.err
    assert done.err.count("\n") == 1


def test_a_wrong_setting_names_its_variable(shell: CommandLine) -> None:
    done = shell.run("datasets", TIMESTORE_THREADS="many")
    assert done.code == 2
    assert "TIMESTORE_THREADS" in done.err
    assert done.err.count("\n") == 1


def test_a_home_that_can_not_be_made_is_one_line(shell: CommandLine) -> None:
    (shell.folder / "file").write_text("")
    done = shell.run("datasets", TIMESTORE_HOME=str(shell.folder / "file" / "home"))
    assert done.code == 1
    assert "set TIMESTORE_HOME" in done.err
    assert done.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(landed: CommandLine) -> None:
    many = "".join(f"kitchen,2024-01-04T{i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z,{i}\n" for i in range(40_000))
    assert landed.inside("land", "meters", write(landed, "many.csv", many)).code == 0
    done = landed.shell('(timestore query meters --format csv; echo "code $?" >&2) | head -n 1')
    assert done.out == "meter,at,watts\n"
    assert done.err == "code 141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_line(landed: CommandLine) -> None:
    done = landed.shell("timestore query meters --format csv > /dev/full")
    assert (done.code, done.err) == (1, "error: no space left on device\n")


def test_ctrl_c_ends_a_landing_cleanly(shell: CommandLine) -> None:
    big = shell.folder / "big.csv"
    with big.open("w") as text:
        text.write(HEADER)
        text.writelines(f"kitchen,2024-01-{i // 86400 + 1:02d}T00:00:{i % 60:02d}Z,{i}\n" for i in range(400_000))
    started = subprocess.Popen(
        [str(shell.folder / "bin" / "timestore"), "land", "meters", str(big), "--chunk-rows", "2000"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + 60
        while len(list((shell.home / "data").glob("meters/*/*.parquet"))) < 3 and started.poll() is None:
            assert time.monotonic() < limit, "nothing was landed in time"
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGINT)
        _, err = started.communicate(timeout=100)
    finally:
        started.kill()
        started.communicate(timeout=60)
    assert (started.returncode, err) == (130, "interrupted\n")
    rows = sum(row["rows"] for row in shell.inside("partitions", "meters", "--json").json)
    assert 0 < rows < 400_000
    assert shell.inside("land", "meters", str(big)).code == 0
    assert sum(row["rows"] for row in shell.inside("partitions", "meters", "--json").json) == 400_000


def test_version(shell: CommandLine) -> None:
    assert shell.inside("version", "--json").json["duckdb"].startswith("2.")


def test_values_that_became_null_are_told(landed: CommandLine) -> None:
    defs = next((landed.folder).rglob("defs.yaml"))
    defs.write_text(defs.read_text().rstrip() + "\n  evolution: {types: discard_value}\n")
    for name, phase in (("whole.csv", "2"), ("odd.csv", "odd")):
        (landed.folder / name).write_text(f"meter,at,watts,phase\nkitchen,2024-01-04T00:00:00Z,1,{phase}\n")
    assert "null" not in landed.inside("land", "meters", "whole.csv").out
    assert "don't fit the type of column phase: 1 value" in landed.inside("land", "meters", "odd.csv").out
