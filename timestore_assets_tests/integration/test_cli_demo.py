"""`timestore demo`: a year of real data landed and built by the sensors and the daemon, checked with pandas."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.demo_expectations import (
    FINISH_SECONDS,
    LONG,
    answers_are_those_of_pandas,
    every_record_is_accounted_for_and_every_partition_sealed,
)

pytestmark = LONG


def test_the_main_job_on_a_year_of_real_data(tmp_path: Path) -> None:
    """One test, because one run of the demo is enough."""
    demo = CommandLine(tmp_path)
    assert demo.inside("status", "--json").json["datasets"] == [], "a home of one's own has none of the demo's datasets"
    done = demo.run("demo", "--timeout", str(FINISH_SECONDS), timeout=FINISH_SECONDS + 60)
    assert done.code == 0, done.err
    every_record_is_accounted_for_and_every_partition_sealed(demo)
    answers_are_those_of_pandas(demo)
    it_prints_the_books_three_answers_a_picture_and_what_to_do_next(demo, done.out)
    a_partition_is_a_plain_duckdb_file(done.out)
    again = demo.run("demo", "--json")
    assert again.json["nothing_new"] is True
    assert "Nothing is new" in again.err


def it_prints_the_books_three_answers_a_picture_and_what_to_do_next(demo: CommandLine, printed: str) -> None:
    assert printed.count(" ✓") == 2
    assert printed.count("$ timestore ") == 3
    picture = demo.home / "demo" / "new-york-2013.png"
    assert str(picture) in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    assert "timestore dev  " in printed


def a_partition_is_a_plain_duckdb_file(printed: str) -> None:
    import duckdb

    line = next(line for line in printed.splitlines() if "a partition is a plain DuckDB file" in line)
    assert "dep_time" in subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True).stdout
    (path,) = re.findall(r"/\S+\.duckdb", line)
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
