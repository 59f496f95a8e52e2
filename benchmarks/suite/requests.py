"""Records over HTTP, a hundred in a request: this project's service (`benchmarks/ingest.py`), and line protocol into peers.

What an answer means differs. Here the rows are synced, in the catalog, and told apart by key if one is given. InfluxDB syncs its
log before it answers; VictoriaMetrics answers when the rows are in memory, and writes them out within seconds.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.environments import Environment
from benchmarks.suite.workers import ROOT

ROWS = 100
CLIENTS = 96
_LINE = re.compile(rf"^json-{ROWS}\s+([\d,]+)\s+([\d,]+)\s+([\d.]+)\s+([\d.]+)", re.MULTILINE)


def sent(peers: dict[str, Environment], *, seconds: float, rounds: int, missing: dict[str, str], within: Path) -> dict[str, Any]:
    """Rows a second and waits, by contender: medians of rounds in turns."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        found.setdefault("timestore", []).append(_own(seconds))
        for name, environment in peers.items():
            if environment.server is None:
                missing[f"HTTP ingest/{name}"] = environment.missing or "it is no server"
                continue
            found.setdefault(name, []).append(_peer(name, environment.server, seconds, within))
    for name, results in found.items():
        print(f"  {name}: " + ", ".join(f"{one['rows_a_second']:,.0f} rows/s" for one in results), flush=True)
    return {
        name: {key: round(float(np.median([one[key] for one in results])), 1) for key in results[0]} | {"rounds": len(results)}
        for name, results in found.items()
    }


def _own(seconds: float) -> dict[str, float]:
    script = ROOT / "benchmarks" / "ingest.py"
    command = [sys.executable, str(script), "--modes", f"json-{ROWS}", "--seconds", str(seconds), "--clients", str(CLIENTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    line = _LINE.search(done.stdout)
    if line is None:
        raise SystemExit(f"{script.name} printed no figures: {done.stdout[-300:]}")
    rows, _, p50, p99 = (float(text.replace(",", "")) for text in line.groups())
    return {"rows_a_second": rows, "p50_ms": p50, "p99_ms": p99}


def _peer(name: str, server: str, seconds: float, within: Path) -> dict[str, float]:
    from benchmarks.suite.engines import servers

    with tempfile.TemporaryDirectory(dir=within) as folder, servers.running(name, server, Path(folder)) as running:
        bodies = [_body(number) for number in range(8)]
        _send(running.port, running.write_path, bodies, 2.0)
        began = time.monotonic()
        waits = _send(running.port, running.write_path, bodies, seconds)
        took = time.monotonic() - began
    p50, p99 = np.percentile(waits, [50, 99]) * 1000
    return {"rows_a_second": len(waits) * ROWS / took, "p50_ms": float(p50), "p99_ms": float(p99)}


def _body(seed: int) -> bytes:
    """The same rows as the service is sent, as lines."""
    made = np.random.default_rng(seed)
    columns = (
        made.integers(0, 200, ROWS),
        made.normal(50, 15, ROWS).round(1),
        made.gamma(2, 5, ROWS).round(1),
        made.integers(0, 1_000_000, ROWS),
        1_714_521_600_000_000_000 + made.integers(0, 86_400_000_000, ROWS) * 1000,
    )
    lines = [f"readings,station=S{s:03} temp={t},wind={w},count={c}i {at}" for s, t, w, c, at in zip(*columns, strict=True)]
    return "\n".join(lines).encode()


def _send(port: int, path: str, bodies: list[bytes], seconds: float) -> list[float]:
    """Each client sends its next body when the last one was answered; gives how long each waited."""
    end = time.monotonic() + seconds
    waits: list[list[float]] = [[] for _ in range(CLIENTS)]

    def go_on(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            began = time.monotonic()
            connection.request("POST", path, bodies[(number + len(waits[number])) % len(bodies)])
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (http.client.OK, http.client.NO_CONTENT):
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
            waits[number].append(time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for own in waits for one in own]
