"""Records over HTTP with durable acknowledgement: rows a second, and how long a request waits for its answer.

    python benchmarks/ingest.py --seconds 8
    python benchmarks/ingest.py --steady 1

The service runs in a process of its own, with its catalog and segments on disk, the client in this one; both share the machine
and speak over loopback. A client thread sends its next request when the last one is answered. Every answer means that the rows
are synced to disk, in the catalog, and can be asked for. Bodies are made before the clock starts. `--steady`: 5,000 rows a second
in requests of 100 rows for so many minutes, with the memory of the service at the beginning and at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

NAME = "readings"
DECLARATION = f"""
type: timestore_assets.Dataset
attributes:
  name: {NAME}
  columns:
    station: {{type: string}}
    ts: {{type: timestamp}}
    temp: {{type: double, nullable: true, ge: -60, le: 140}}
    wind: {{type: double, nullable: true}}
    count: {{type: int64}}
  time: ts
  start: 2024-01-01
  sources: [http: {{}}]
"""
START = np.datetime64("2024-05-01T00:00:00", "us")
HEADERS = {"json": "application/json", "arrow": "application/vnd.apache.arrow.stream"}
MODES = ("json-100", "json-1000", "json-10000", "arrow-10000", "arrow-100000")
BODIES = 8
STEADY_ROWS_PER_SECOND, STEADY_ROWS = 5_000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each mode is measured")
    parser.add_argument("--steady", type=float, metavar="MINUTES", help="measure a steady stream instead")
    parser.add_argument("--clients", type=int, help="requests at a time; by the size of a request by default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    print(f"{'mode':14} {'rows/s':>10} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'memory MB':>16}")
    if options.steady:
        _measure(f"json-{STEADY_ROWS}", options.clients or 16, options.folder, seconds=60 * options.steady, steady=True)
        return
    for mode in options.modes:
        clients = options.clients or {"json-100": 96, "json-1000": 16, "json-10000": 8}.get(mode, 4)
        _measure(mode, clients, options.folder, seconds=options.seconds, steady=False)


def _measure(mode: str, clients: int, folder: Path | None, *, seconds: float, steady: bool) -> None:
    kind, rows = mode.split("-")
    bodies = [_body(kind, int(rows), number) for number in range(BODIES)]
    with _service(folder) as (port, process):
        _run(port, kind, bodies, clients, _until(2.0))
        before = _memory(process)
        pace = clients * int(rows) / STEADY_ROWS_PER_SECOND if steady else 0.0
        began = time.monotonic()
        waits = _run(port, kind, bodies, clients, _until(seconds), pace=pace)
        took = time.monotonic() - began
        p50, p99 = np.percentile(waits, [50, 99]) * 1000
        speed, memory = len(waits) * int(rows) / took, f"{before:.0f} to {_memory(process):.0f}"
        shown = f"steady {mode}"[:14] if steady else mode
        print(f"{shown:14} {speed:10,.0f} {len(waits) / took:11,.0f} {p50:8.1f} {p99:8.1f} {memory:>16}", flush=True)


def _body(kind: str, rows: int, seed: int) -> bytes:
    made = np.random.default_rng(seed)
    table = pa.table(
        {
            "station": pa.array([f"S{number:03}" for number in made.integers(0, 200, rows)]),
            "ts": pa.array(START + made.integers(0, 86_400_000_000, rows).astype("timedelta64[us]")),
            "temp": pa.array(made.normal(50, 15, rows).round(1)),
            "wind": pa.array(made.gamma(2, 5, rows).round(1)),
            "count": pa.array(made.integers(0, 1_000_000, rows)),
        }
    )
    if kind == "json":
        records = [{**row, "ts": row["ts"].isoformat() + "Z"} for row in table.to_pylist()]
        return json.dumps({"records": records}).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _until(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def _run(
    port: int, kind: str, bodies: list[bytes], clients: int, going_on: Callable[[], bool], *, pace: float = 0.0
) -> list[float]:
    """Send bodies from so many threads; gives how long each request took. `pace`: seconds between requests of a thread."""
    waits: list[list[float]] = [[] for _ in range(clients)]

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        due = time.monotonic() + pace * number / clients
        while going_on():
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            body = bodies[(number + len(waits[number])) % len(bodies)]
            connection.request("POST", f"/datasets/{NAME}/ingest", body, {"Content-Type": HEADERS[kind]})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == http.client.TOO_MANY_REQUESTS:
                time.sleep(float(answer.headers["Retry-After"]))
                continue
            if answer.status != http.client.OK or json.loads(text)["deadLetters"]["count"]:
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
            waits[number].append(time.monotonic() - began)
            due += pace

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for own in waits for one in own]


@dataclass(frozen=True)
class _Process:
    pid: int


@contextmanager
def _service(folder: Path | None) -> Iterator[tuple[int, _Process]]:
    """A service over an empty warehouse, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        definition = Path(home) / "defs" / NAME / "defs.yaml"
        definition.parent.mkdir(parents=True)
        definition.write_text(DECLARATION)
        port = _free_port()
        environment = {**os.environ, "TIMESTORE_HOME": home, "TIMESTORE_SERVE_PORT": str(port), "TIMESTORE_LOG_LEVEL": "error"}
        command = [sys.executable, "-m", "timestore_assets.cli", "serve"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield port, _Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the service did not start")


def _memory(process: _Process) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
