"""Rows and questions over Arrow Flight SQL beside the same over HTTP, in one run.

`python benchmarks/flight.py [--rows 10000000] [--rounds 3] [--clients 100] [--questions 300]` prints

* rows a second of a dataset of five columns, all of it: by ADBC's driver, as Arrow from `POST /sql` and from
  `POST /datasets/{name}/query`, and the ratios to Flight;
* questions a second of many clients at once, each with a small aggregate and a parameter, and how many failed.

The service runs in a process of its own; clients are threads of this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DECLARED = """
type: timestore_assets.Dataset
attributes:
  name: readings
  time: ts
  start: 2024-01-01
  window: month
  columns: {ts: timestamp, device: int64, value: double, flow: double, status: int64}
"""
ARROW = "application/vnd.apache.arrow.stream"
SMALL = "SELECT count(*) AS n, avg(value) AS mean FROM readings WHERE ts < TIMESTAMP '2024-01-01 01:00:00' AND device = "


def landed(home: Path, rows: int) -> None:
    (home / "defs" / "readings").mkdir(parents=True)
    (home / "defs" / "readings" / "defs.yaml").write_text(DECLARED)
    chance = np.random.default_rng(7)
    start = np.datetime64("2024-01-01", "us")
    table = pa.table(
        {
            "ts": start + np.arange(rows) * np.timedelta64(1, "s"),
            "device": chance.integers(0, 500, rows),
            "value": chance.random(rows),
            "flow": chance.random(rows),
            "status": chance.integers(0, 4, rows),
        }
    )
    pq.write_table(table, home / "readings.parquet")
    command = [str(Path(sys.executable).with_name("timestore"))]
    for arguments in (["land", "readings", str(home / "readings.parquet")], ["build", "readings"]):
        subprocess.run([*command, *arguments], env=environment(home), check=True, stdout=subprocess.DEVNULL)


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TIMESTORE_HOME": str(home),
        "TIMESTORE_QUERY_MAX_ROWS": "1000000000",
        "TIMESTORE_QUERY_WAITING": "1000",
    }


@contextmanager
def serving(home: Path) -> Iterator[dict[str, str]]:
    command = [str(Path(sys.executable).with_name("timestore")), "serve", "--port", "0", "--flight", "127.0.0.1:0", "--json"]
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(30)


def by_flight(place: str) -> int:
    with flight_sql.connect(place, autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("SELECT * FROM readings")
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


def by_http(url: str, path: str, body: object) -> int:
    with (
        httpx.Client(base_url=url, timeout=300, verify=False) as client,
        client.stream("POST", path, json=body, headers={"Accept": ARROW}) as answer,
    ):
        answer.raise_for_status()
        return sum(batch.num_rows for batch in pa.ipc.open_stream(_File(answer.iter_raw(1 << 20))))


class _File:
    """What is received, as a file."""

    closed = False

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size and (piece := next(self._pieces, b"")):
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]

    def close(self) -> None: ...


def streams(place: dict[str, str], rows: int, rounds: int) -> None:
    ways: dict[str, Callable[[], int]] = {
        "Flight SQL, ADBC": lambda: by_flight(place["flight"]),
        "HTTP /sql, Arrow": lambda: by_http(place["url"], "/sql", {"sql": "SELECT * FROM readings"}),
        "HTTP /query, Arrow": lambda: by_http(place["url"], "/datasets/readings/query", {}),
    }
    for way in ways.values():  # what is loaded at first is not what is measured
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            assert way() == rows
            seconds[name].append(time.perf_counter() - began)
    base = statistics.median(seconds["Flight SQL, ADBC"])
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(
            f"{name:20} {rows / middle / 1e6:6.2f} M rows/s  {base / middle:5.2f} × Flight  (best {rows / min(found) / 1e6:.2f})"
        )


def many(place: dict[str, str], clients: int, questions: int) -> None:
    def ask_flight(number: int) -> None:
        with flight_sql.connect(place["flight"], autocommit=True) as db, db.cursor() as cursor:
            cursor.execute(SMALL + "?", [number % 500])
            assert len(cursor.fetchall()) == 1

    def ask_http(number: int) -> None:
        body = {"sql": SMALL + "$device", "parameters": {"device": number % 500}}
        answer = httpx.post(place["url"] + "/sql", json=body, headers={"Accept": ARROW}, timeout=300, verify=False)
        answer.raise_for_status()
        assert pa.ipc.open_stream(answer.content).read_all().num_rows == 1

    for name, ask in (("Flight SQL, ADBC", ask_flight), ("HTTP /sql, Arrow", ask_http)):
        errors: list[str] = []

        def tried(number: int, ask: Callable[[int], None] = ask, errors: list[str] = errors) -> None:
            try:
                ask(number)
            except Exception as error:  # counted
                errors.append(str(error)[:200])

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(tried, range(questions)))
        rate = questions / (time.perf_counter() - began)
        print(f"{name:20} {clients} clients: {rate:6.1f} questions/s, {len(errors)} errors {errors[:1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--questions", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        landed(home, given.rows)
        with serving(home) as place:
            streams(place, given.rows, given.rounds)
            many(place, given.clients, given.questions)


if __name__ == "__main__":
    main()
