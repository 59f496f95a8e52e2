"""I1, I2: the service killed under load again and again, with clients that retry by key: each row is there once."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from timestore_assets.model.counters import Counters
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

KILLS = int(os.environ.get("TIMESTORE_SERVICE_KILLS", "3"))
CLIENTS, ROWS, BAD = 4, 20, 1
PATIENCE = 120.0
DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns:
    ts: timestamp
    id: string
    n: int64
  time: ts
  start: 2024-01-01
  sources: [http: {}]
"""


class Service:
    """A service process over a home, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._environment = {
            **os.environ,
            "TIMESTORE_HOME": str(home),
            "TIMESTORE_SERVE_MERGE_DELTAS": "4",
            "TIMESTORE_LOG_LEVEL": "error",
        }
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "timestore_assets.cli", "serve", "--port", "0", "--json"]
        self._process = subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._end(-signal.SIGKILL)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._end(0)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def _end(self, code: int) -> None:
        assert self._process is not None
        assert self._process.wait(PATIENCE) == code
        assert self._process.stdout is not None
        self._process.stdout.close()


class Client(threading.Thread):
    """Sends request after request, each until it is answered; `answered` are the numbers of those that were."""

    def __init__(self, number: int, service: Service) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.number, self._service = number, service
        self._enough = threading.Event()
        self.answered: list[int] = []
        self.repeated = 0
        self.problem = ""

    def run(self) -> None:
        with httpx.Client(timeout=10, trust_env=False) as http:
            while not self._enough.is_set() and not self.problem:
                self._send(http, len(self.answered))

    def finish(self) -> None:
        """Send nothing more once the request that is under way has its answer."""
        self._enough.set()

    def _send(self, http: httpx.Client, request: int) -> None:
        content, kind = self._body(request)
        headers = {"Content-Type": kind, "Idempotency-Key": f"{self.number}/{request}"}
        deadline, last = time.monotonic() + PATIENCE, ""
        while time.monotonic() < deadline:
            try:
                answer = http.post(f"{self._service.url}/datasets/readings/ingest", content=content, headers=headers)
            except httpx.TransportError as error:
                last = repr(error)
                time.sleep(0.05)
                continue
            if answer.status_code in (429, 503):
                last = answer.text
                time.sleep(0.1)
                continue
            found = answer.json()
            if answer.status_code != 200 or (found["landed"], found["deadLetters"]["count"]) != (ROWS, BAD):
                self.problem = f"{answer.status_code} {answer.text[:500]}"
                return
            self.repeated += found["repeated"]
            self.answered.append(request)
            return
        self.problem = f"no answer, but {last}"

    def _body(self, request: int) -> tuple[bytes, str]:
        """Good records with ids of their own, and a bad one; by turns as JSON and as Arrow."""
        rows: list[dict[str, Any]] = [
            {"ts": f"2024-05-{request % 5 + 1:02}T00:00:00Z", "id": f"{self.number}/{request}/{row}", "n": str(row)}
            for row in range(ROWS)
        ]
        rows.append({"ts": "2024-05-01T00:00:00Z", "id": "bad", "n": "none"})
        if request % 2:
            return json.dumps(
                [{**row, "n": int(row["n"]) if row["n"].isdigit() else row["n"]} for row in rows]
            ).encode(), "application/json"
        table, sink = pa.Table.from_pylist(rows), io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue(), "application/vnd.apache.arrow.stream"


@contextmanager
def clients(service: Service) -> Iterator[list[Client]]:
    """Clients at work; when the block ends, each has its last answer."""
    found = [Client(number, service) for number in range(CLIENTS)]
    for one in found:
        one.start()
    yield found
    for one in found:
        one.finish()
    for one in found:
        one.join(2 * PATIENCE)
        assert not one.is_alive()


def wait_for_answers(found: list[Client], more: int) -> None:
    before, deadline = sum(len(one.answered) for one in found), time.monotonic() + PATIENCE
    while sum(len(one.answered) for one in found) < before + more:
        assert not [one.problem for one in found if one.problem]
        assert time.monotonic() < deadline, "no client gets on"
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(300 + 30 * KILLS)
def test_killed_under_load_each_row_is_there_once(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION)
    service, made = Service(tmp_path / "home"), random.Random()
    service.start()
    try:
        with clients(service) as found:
            for _ in range(KILLS):
                wait_for_answers(found, more=made.randrange(1, 20))
                time.sleep(made.uniform(0, 0.1))
                service.kill()
                service.start()
            wait_for_answers(found, more=20)
        service.stop()
    finally:
        service.close()
    assert not [one.problem for one in found if one.problem]
    check(
        tmp_path / "home", {f"{one.number}/{request}/{row}" for one in found for request in one.answered for row in range(ROWS)}
    )


def check(home: Path, expected: set[str]) -> None:
    with Warehouse.open(Settings(home=home)) as warehouse:
        with warehouse.sql("SELECT id, n FROM readings") as answer:
            rows = answer.table()
        ids = rows.column("id").to_pylist()
        assert len(ids) == len(set(ids)), "a row landed twice"
        assert set(ids) == expected
        assert all(int(id.rsplit("/")[-1]) == n for id, n in zip(ids, rows.column("n").to_pylist(), strict=True))
        _, record = warehouse.resolve("readings")
        total = sum((source.counters for source in warehouse.catalog.sources.of(record.id)), Counters())
        requests = len(expected) // ROWS
        assert total == Counters(read=requests * (ROWS + BAD), landed=len(expected), dead_letters=requests * BAD)
        letters = sum(file.rows for _, file, _ in warehouse.catalog.dead_letters.of(record.id))
        assert letters == total.dead_letters
        report = warehouse.verify("readings")
        assert report.ok, report.findings
