"""`query`, `sql` and `views` as people use them every day: files, the latest rows, stdin, the prompt, a shell's completion."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import duckdb
import pexpect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets_tests.support.command_line import CommandLine

DECLARATION = """
type: timestore_assets.Dataset
attributes:
  name: meters
  description: Power meters of a house
  columns:
    meter: {type: string}
    at: {type: timestamp}
    watts: {type: double, nullable: true, unit: W}
  time: at
  window: day
  start: 2024-01-01
  sources:
    - files: {prefix: inbox/meters/, format: csv}
"""
DAYS = 12


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Four rows on each of twelve days, `watts` 1.0625, 2.0625, …"""
    line = CommandLine(tmp_path_factory.mktemp("asking"))
    declaration = line.home / "defs" / "meters" / "defs.yaml"
    declaration.parent.mkdir(parents=True)
    declaration.write_text(DECLARATION)
    rows = [
        f"{meter},2024-01-{day + 1:02d}T{hour:02d}:00:00Z,{day * 4 + place + 1.0625}\n"
        for day in range(DAYS)
        for place, (meter, hour) in enumerate((one, hour) for hour in (0, 12) for one in ("cellar", "kitchen"))
    ]
    (line.folder / "rows.csv").write_text("meter,at,watts\n" + "".join(rows))
    assert line.inside("land", "meters", "rows.csv").code == 0
    assert line.inside("build", "meters").code == 0
    return line


def watts(shell: CommandLine, *arguments: str) -> list[float]:
    return [row["watts"] for row in shell.inside("query", "meters", *arguments, "--json").json]


def test_the_latest_rows_come_in_order_of_time_unless_asked_otherwise(shell: CommandLine) -> None:
    assert watts(shell, "--last", "3") == [46.0625, 47.0625, 48.0625]
    assert watts(shell, "--desc", "--limit", "2") == [48.0625, 47.0625]
    assert watts(shell, "--last", "2", "--desc") == [48.0625, 47.0625]
    assert watts(shell, "--last", "1", "--to", "2024-01-03") == [8.0625]
    buckets = shell.inside("query", "meters", "--every", "1d", "--agg", "max(watts) as top", "--last", "2", "--json").json
    assert [row["top"] for row in buckets] == [44.0625, 48.0625]


def test_only_what_a_limit_needs_is_read(shell: CommandLine) -> None:
    assert "1 segment read, 11 left out" in shell.inside("query", "meters", "--limit", "3").out
    assert "1 segment read, 11 left out" in shell.inside("query", "meters", "--last", "3").out
    assert "12 segments read, 0 left out" in shell.inside("query", "meters", "--every", "1y", "--agg", "count").out


def test_times_are_partial_and_relative(shell: CommandLine) -> None:
    assert len(watts(shell, "--from", "2024", "--to", "2024-02")) == 48
    assert watts(shell, "--from", "-30d", "--to", "now") == []
    assert len(watts(shell, "--to", "yesterday", "--limit", "5")) == 5


def test_a_limit_is_what_a_table_shows_and_values_are_exact(shell: CommandLine) -> None:
    shown = shell.inside("query", "meters", "--limit", "44").out
    assert shown.count("cellar") == 22
    assert "44 rows" in shown
    assert re.search(r"\b47\.0625\b", shell.inside("query", "meters", "--last", "2").out)
    cut = shell.inside("query", "meters").out
    assert cut.count("cellar") == 20
    assert "40 of 48 rows shown; --limit 48 shows all" in cut


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl", "rows.parquet", "rows.arrow", "rows.txt"])
def test_a_file_is_in_the_format_that_its_name_says(shell: CommandLine, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = shell.inside("query", "meters", "--limit", "3", "-o", str(file))
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(rf"3 rows in {re.escape(str(file))}, [0-9.]+ k?B\n", done.err)
    match file.suffix:
        case ".parquet":
            rows = pq.read_table(file).to_pylist()
        case ".arrow":
            rows = pa.ipc.open_file(file).read_all().to_pylist()
        case ".txt":
            assert "3 rows · meters version" in file.read_text()
            return
        case _:
            rows = duckdb.sql(f"FROM '{file}'").to_arrow_table().to_pylist()
    assert [row["watts"] for row in rows] == [1.0625, 2.0625, 3.0625]
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~current_umask()
    assert [one.name for one in tmp_path.iterdir()] == [name]


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_a_file_is_replaced_whole_or_not_at_all(shell: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("before")
    file.chmod(0o640)
    failing = "SELECT CASE WHEN i < 100000 THEN i ELSE CAST('x' || i AS INTEGER) END AS n FROM range(200000) t(i)"
    assert shell.inside("sql", failing, "-o", str(file)).code == 2
    assert file.read_text() == "before"
    assert shell.inside("sql", "SELECT 1 AS n", "-o", str(file)).code == 0
    assert file.read_text() == "n\n1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [file]
    assert shell.inside("sql", "SELECT 1 AS n", "-o", "/dev/null", "--format", "csv").code == 0
    assert Path("/dev/null").is_char_device()


def test_json_lines_go_to_a_pipe(shell: CommandLine) -> None:
    done = shell.inside("sql", "SELECT meter, watts FROM meters ORDER BY watts LIMIT 2", "--format", "jsonl")
    assert done.out == '{"meter":"cellar","watts":1.0625}\n{"meter":"kitchen","watts":2.0625}\n'


def test_statements_beside_select(shell: CommandLine) -> None:
    assert shell.inside("sql", "SHOW TABLES", "--json").json[0] == {"name": "meters"}
    described = shell.inside("sql", "DESCRIBE meters", "--json").json
    assert [(one["column_name"], one["column_type"]) for one in described][1:] == [("at", "TIMESTAMP"), ("watts", "DOUBLE")]
    assert shell.inside("sql", "SUMMARIZE meters", "--json").json[2]["max"] == "48.0625"
    assert "read parquet" in shell.inside("sql", "EXPLAIN FROM meters WHERE watts > 3").out
    assert shell.inside("sql", "FROM meters", "--limit", "2", "--format", "csv").out.count("\n") == 3


@pytest.mark.parametrize("arguments", [["sql"], ["sql", "-"]])
def test_statements_come_from_stdin(shell: CommandLine, arguments: list[str]) -> None:
    text = "-- two;\nSELECT ';' AS a;\nSELECT count(*) AS n FROM meters"
    done = run(shell, arguments, text)
    assert done.returncode == 0
    assert re.search(r"^a\n;\n1 row.*^ n\n48\n1 row", done.stdout, re.DOTALL | re.MULTILINE)
    several = run(shell, [*arguments, "--format", "csv"], text)
    assert several.returncode == 2
    assert several.stderr == "error: stdin holds 2 statements; --format and -o take one\n"
    assert run(shell, [*arguments, "--format", "csv"], "SELECT 1 AS n;").stdout == "n\n1\n"


def run(shell: CommandLine, arguments: list[str], text: str) -> subprocess.CompletedProcess[str]:
    command = [str(shell.folder / "bin" / "timestore"), *arguments]
    return subprocess.run(command, input=text, env=shell.environment, capture_output=True, text=True, timeout=60, check=False)


def test_any_duckdb_reads_the_views(shell: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "all.duckdb"
    assert "timestore views" in shell.inside("views", str(file)).out
    asked = "SELECT meter, sum(watts) AS total FROM meters GROUP BY meter ORDER BY meter"
    with duckdb.connect(str(file), read_only=True) as con:
        rows = [{"meter": meter, "total": total} for meter, total in con.sql(asked).fetchall()]
    assert rows == shell.inside("sql", asked, "--json").json
    again = shell.inside("views", str(file))
    assert (again.code, again.err) == (3, f"error: {file} is there; --refresh replaces it\n")
    (view,) = shell.inside("views", str(file), "--refresh", "--dataset", "meters", "--json").json["views"]
    assert (view["dataset"], view["segments"], view["left_out"]) == ("meters", 12, "")
    (tmp_path / "mine.duckdb").write_text("something else")
    assert "was not written by `timestore views`" in shell.inside("views", str(tmp_path / "mine.duckdb"), "--refresh").err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.duckdb", "mine.duckdb"]


def test_status_of_one_dataset_and_the_latest_partitions(shell: CommandLine) -> None:
    (entry,) = shell.inside("status", "meters", "--json").json["datasets"]
    assert (entry["dataset"], entry["rows"]) == ("meters", 48)
    (source,) = entry["sources"]
    assert source["rows_per_second"] == pytest.approx(source["rows_last_minute"] / 60, abs=0.001)
    latest = shell.inside("partitions", "meters", "--last", "2")
    assert "2 partitions of 12" in latest.out
    assert [one["partition"] for one in shell.inside("partitions", "meters", "--last", "2", "--json").json] == [
        "2024-01-11",
        "2024-01-12",
    ]


def completed(shell: CommandLine, line: str) -> list[str]:
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TIMESTORE_COMPLETE": "complete_bash"}
    done = shell.run(**asked)
    assert (done.code, done.err) == (0, "")
    return done.out.split()


def test_a_shell_completes_names(shell: CommandLine) -> None:
    assert completed(shell, "timestore query me") == ["meters"]
    assert completed(shell, "timestore query meters --columns at,") == ["at,meter", "at,watts"]
    assert completed(shell, "timestore parti") == ["partitions"]


def test_version_and_help(shell: CommandLine) -> None:
    assert re.fullmatch(r"timestore \d+\.\d+\.\d+\S*\n", shell.inside("--version").out)
    assert "<bool>" not in shell.inside("query", "--help").out


PROMPT = "timestore> "


@pytest.fixture
def prompt(shell: CommandLine, tmp_path: Path) -> pexpect.spawn[str]:
    return at_prompt(shell, tmp_path)


def at_prompt(shell: CommandLine, tmp_path: Path, *arguments: str) -> pexpect.spawn[str]:
    environment = {**shell.environment, "XDG_STATE_HOME": str(tmp_path), "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
    command = str(shell.folder / "bin" / "timestore")
    found = pexpect.spawn(command, ["sql", *arguments], env=environment, encoding="utf-8", timeout=60, dimensions=(50, 100))
    found.expect_exact(PROMPT)
    return found


def test_a_prompt_of_an_older_version_stays_there(shell: CommandLine, tmp_path: Path) -> None:
    prompt = at_prompt(shell, tmp_path, "--as-of", "meters=0")
    assert "everything is answered as of meters=0" in prompt.before
    prompt.send("SELECT count(*) AS n FROM meters;\r")
    prompt.expect(r"0\s+1 row · meters version 0 ")
    prompt.send("\\d meters\r")
    prompt.expect(r"watts\s+double\s+null\s+W")
    prompt.send("\\q\r")
    prompt.expect(pexpect.EOF)
    prompt.close()
    assert prompt.exitstatus == 0


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_for_cpu_ticks(pid: int, enough: int) -> None:
    limit = time.monotonic() + 180
    while cpu_ticks(pid) < enough:
        assert time.monotonic() < limit, "nothing was computed in time"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_prompt_answers_line_by_line_and_survives_errors_and_ctrl_c(prompt: pexpect.spawn[str], tmp_path: Path) -> None:
    prompt.send("SELECT count(*) AS n\rFROM meters;\r")
    prompt.expect(r"48\s+1 row · meters version \d+ · 12 segments read, 0 left out · [<0-9. ]+s")
    prompt.send("\\d meters\r")
    prompt.expect(r"watts\s+double\s+null\s+W")
    prompt.send("SELEC 1;\r")
    prompt.expect_exact('error: SQL: syntax error at or near "SELEC"')
    for _ in range(3):  # as often as would end any other command
        enough = cpu_ticks(prompt.pid) + 100
        prompt.send("SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range + b.range = -1;\r")
        wait_for_cpu_ticks(prompt.pid, enough)  # it is being computed
        prompt.sendintr()
        prompt.expect_exact("interrupted")
    prompt.send(f"\\o {tmp_path}/out.csv\r")
    prompt.expect_exact("the next answer goes to")
    prompt.send("SELECT 2 AS b;\r")
    prompt.expect_exact("1 row in ")
    assert (tmp_path / "out.csv").read_text() == "b\n2\n"
    prompt.send("\\q\r")
    prompt.expect(pexpect.EOF)
    prompt.close()
    assert prompt.exitstatus == 0
    history = tmp_path / "timestore" / "sql_history"
    assert "+FROM meters;" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_ctrl_c_ends_a_statement_in_the_middle_of_its_computation(shell: CommandLine) -> None:
    heavy = "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range + b.range = -1"
    command = [str(shell.folder / "bin" / "timestore"), "sql", heavy]
    started = subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_cpu_ticks(started.pid, 500)
        os.kill(started.pid, signal.SIGINT)
        out, err = started.communicate(timeout=30)
    finally:
        started.kill()
        started.communicate(timeout=60)
    assert (started.returncode, out, err) == (130, "", "interrupted\n")


def on_terminal(shell: CommandLine, *arguments: str, lines: int = 50, columns: int = 90, **environment: str) -> str:
    """What a terminal of that size shows, without colours."""
    told = {**shell.environment, "TERM": "xterm", **environment}
    script = str(shell.folder / "bin" / "timestore")
    ran = pexpect.spawn(script, list(arguments), env=told, encoding="utf-8", timeout=60, dimensions=(lines, columns))
    ran.expect(pexpect.EOF)
    ran.close()
    assert ran.exitstatus == 0, ran.before
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.before).replace("\r", "")


def test_what_is_longer_than_the_terminal_goes_through_the_pager(shell: CommandLine) -> None:
    paged = {"PAGER": "sed -e 's/^/paged: /'"}
    asked = ("query", "meters", "--limit", "30")
    assert on_terminal(shell, *asked, lines=20, **paged).count("paged: ") == 33  # a heading, units, rows, what they are from
    assert "paged" not in on_terminal(shell, *asked, lines=40, **paged)
    assert "paged" not in on_terminal(shell, *asked, "--no-pager", lines=20, **paged)
    assert "30 rows" in on_terminal(shell, *asked, lines=20, PAGER="there-is-no-such-pager")


def test_a_narrow_terminal_shows_the_first_and_the_last_columns(shell: CommandLine) -> None:
    wide = "SELECT *, watts / 3 AS third, 'x' AS fourth_column, 'y' AS fifth_column FROM meters ORDER BY watts LIMIT 2"
    lines = on_terminal(shell, "sql", wide, columns=60).splitlines()
    heads = lines[0].split()
    assert (heads[0], heads[-1], "…" in heads, "third" in heads) == ("meter", "fifth_column", True, False)
    assert all(len(line) <= 60 for line in lines[:3])
    assert "columns shown; -x shows all" in "".join(lines)
    assert re.search(r"third\s+0\.3541666666666667\n", on_terminal(shell, "sql", wide, "-x", columns=60))
