"""Servers that are compared, each started over an empty folder on ports of its own, for this machine alone."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that answers. `write_path`: where it takes line protocol."""

    port: int
    write_path: str
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """Raises: RuntimeError when it is refused."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")
        return text


@contextmanager
def running(name: str, command: str, folder: Path) -> Iterator[Running]:
    """The server of that name; ended with the block."""
    port, other = _free_ports()
    if name == "influxdb":
        arguments, path, health = _influx(folder, port, other), "/write?db=bench", "/ping"
    else:
        arguments, path, health = _victoria(folder, port), "/write", "/health"
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([command, *arguments], stdout=log, stderr=log)
    try:
        made = Running(port=port, write_path=path, pid=process.pid)
        _wait_for(made, health, process)
        if name == "influxdb":
            made.call("POST", f"/query?q={quote('CREATE DATABASE bench')}")
        yield made
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=60)


def _influx(folder: Path, port: int, other: int) -> list[str]:
    config = folder / "influxdb.conf"
    config.write_text(
        f"""reporting-disabled = true
bind-address = "127.0.0.1:{other}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  max-series-per-database = 0
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""
    )
    return ["-config", str(config)]


def _victoria(folder: Path, port: int) -> list[str]:
    return [
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-loggerLevel=ERROR",
        "-search.latencyOffset=0s",
    ]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def _wait_for(server: Running, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, RuntimeError):
            server.call("GET", path)
            return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")
