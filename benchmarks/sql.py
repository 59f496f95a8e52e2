"""The fixed cost of SQL: small statements through the door, and the same on one table of DuckDB, in one run.

    python benchmarks/sql.py [--rounds 30] [--http] [--folder FOLDER]

One dataset of three sealed days (100 hosts, 8,640 rows a day each) and the same rows in one `.duckdb` table, that is sorted in
the same way and read with the same limits. Printed are medians in milliseconds, of wall and of CPU time (of this process), with
the door's ratio to DuckDB. "known": the text was asked before over the same version. "new": each text is one that nobody asked.
`--http` asks `POST /sql` of a service in another process too, by one connection that is kept.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb

from timestore_assets.segments.engine import connect
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

NAME = "cpu"
HOSTS, STEPS, DAYS = 100, 8_640, 3
VALUES = ("usage_user", "usage_system", "usage_idle", "usage_nice")
DECLARATION = f"""
type: timestore_assets.Dataset
attributes:
  name: {NAME}
  columns:
    ts: {{type: timestamp}}
    host: {{type: string}}
{chr(10).join(f"    {name}: {{type: double}}" for name in VALUES)}
  time: ts
  window: day
  start: 2024-01-01
  partition_by: [host]
  dedupe: {{keys: [host, ts]}}
  sources:
    - files: {{prefix: inbox}}
"""
ROWS = f"""
SELECT TIMESTAMP '2024-01-01' + to_seconds(10 * (i // {HOSTS})) AS ts, format('host_{{:03d}}', i % {HOSTS}) AS host,
    {", ".join(f"(hash(i, '{name}') % 10000) / 100.0 AS {name}" for name in VALUES)}
FROM range({DAYS * STEPS * HOSTS}) t(i)
"""
STATEMENTS = {
    "one": "SELECT 1 AS one",
    "point": f"SELECT * FROM {NAME} WHERE host = 'host_042' AND ts = '2024-01-02 12:00:00'",
    "day by host": (
        f"SELECT host, max(usage_user) AS most FROM {NAME} WHERE ts >= '2024-01-02' AND ts < '2024-01-03' GROUP BY host"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--http", action="store_true", help="ask the service as well")
    parser.add_argument("--folder", type=Path, help="where to work, kept for the next run; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.folder or Path(temporary)
        settings = _landed(home)
        with Warehouse.open(settings) as warehouse, connect(warehouse.limits) as con:
            con.execute(f"ATTACH '{home / 'table.duckdb'}' AS t (READ_ONLY); USE t")
            _compare(warehouse, con, options.rounds)
        with Warehouse.open(settings.model_copy(update={"sql_answers_bytes": 64_000_000})) as warehouse:
            _kept(warehouse, options.rounds)
        for kept_bytes in (0, 64_000_000) if options.http else ():
            _over_http(home, options.rounds, kept_bytes)


def _landed(home: Path) -> Settings:
    """A home with the rows, built, and beside it the table."""
    settings = Settings(home=home / "home", sql_answers_bytes=0)
    if (home / "table.duckdb").exists():
        return settings
    declared = home / "home" / "defs" / NAME / "defs.yaml"
    declared.parent.mkdir(parents=True)
    declared.write_text(DECLARATION)
    rows = home / "rows.parquet"
    duckdb.sql(f"COPY ({ROWS}) TO '{rows}'")
    with Warehouse.open(settings) as warehouse:
        warehouse.land(NAME, [rows])
        partitions = [found.partition for found in warehouse.partitions(NAME)]
        assert len(list(warehouse.build(NAME, partitions, close=True))) == DAYS
    with duckdb.connect(home / "table.duckdb") as con:
        con.execute(f"CREATE TABLE {NAME} AS SELECT * FROM '{rows}' ORDER BY ts::DATE, host, ts")
    rows.unlink()
    return settings


def _compare(warehouse: Warehouse, con: duckdb.DuckDBPyConnection, rounds: int) -> None:
    def door(text: str) -> None:
        with warehouse.sql(text) as answer:
            answer.table()

    def table(text: str) -> None:
        con.sql(text).to_arrow_table()

    print(f"{'statement':20} {'wall ms':>9} {'CPU ms':>9} {'DuckDB':>9} {'ratio':>7}")
    for name, text in STATEMENTS.items():
        alone = _measured(table, _texts(text)[0][1], rounds)
        for kind, texts in _texts(text):
            wall, cpu = _measured(door, texts, rounds)
            print(f"{f'{name}, {kind}':20} {wall:9.2f} {cpu:9.2f} {alone[0]:9.2f} {wall / alone[0]:7.1f}", flush=True)


def _kept(warehouse: Warehouse, rounds: int) -> None:
    """The same statements, whose answers are kept."""
    for name, text in STATEMENTS.items():
        wall, cpu = _measured(lambda text: warehouse.sql(text).table(), lambda _, text=text: text, rounds)
        print(f"{f'{name}, kept':20} {wall:9.2f} {cpu:9.2f}", flush=True)


def _texts(text: str) -> tuple[tuple[str, Callable[[int], str]], ...]:
    """What is asked in each round: always the same, or something new."""
    return ("known", lambda _: text), ("new", lambda number: f"{text} -- {number}")


def _measured(ask: Callable[[str], None], text_of: Callable[[int], str], rounds: int) -> tuple[float, float]:
    """Median milliseconds of wall and CPU time; what is asked first, three times, does not count."""
    for number in range(-3, 0):
        ask(text_of(number))
    walls, cpus = [], []
    for number in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        ask(text_of(number))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


def _over_http(home: Path, rounds: int, kept_bytes: int) -> None:
    with _service(home / "home", kept_bytes) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(text: str) -> None:
            connection.request("POST", "/sql", json.dumps({"sql": text}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise SystemExit(body.decode())

        for name, text in STATEMENTS.items():
            for kind, texts in _texts(text):
                wall, _ = _measured(ask, texts, rounds)
                print(f"{f'HTTP: {name}, {kind}':26} {wall:9.2f}{', kept' if kept_bytes else ''}", flush=True)
        connection.close()


@contextmanager
def _service(home: Path, kept_bytes: int) -> Iterator[int]:
    """A service of that home, by its port. `kept_bytes`: of answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = os.environ | {"TIMESTORE_HOME": str(home), "TIMESTORE_SERVE_PORT": str(port), "TIMESTORE_LOG_LEVEL": "error"}
    environment |= {"TIMESTORE_SQL_ANSWERS_BYTES": str(kept_bytes)}
    command = [sys.executable, "-m", "timestore_assets.cli", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the service did not start")


if __name__ == "__main__":
    main()
