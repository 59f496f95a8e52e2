"""`timestore serve`: says where it listens, refuses what it can't do in one line, and ends politely."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.flight_clients import ask

START_SECONDS = 60.0
STOP_SECONDS = 30.0
DECLARATION = """type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {at: timestamp, station: string, temp: double}
  time: at
  start: 2026-01-01
  sources: [http: {}]
"""


@dataclass
class Running:
    """A service in a process of its own. `told`: what it printed when it was ready."""

    process: subprocess.Popen[str]
    told: str

    @property
    def url(self) -> str:
        return str(json.loads(self.told)["url"])

    def stop(self, sign: signal.Signals) -> tuple[int, str]:
        """Ask it to stop; its exit code and what it had logged."""
        self.process.send_signal(sign)
        _, err = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, err


@pytest.fixture
def shell(tmp_path: Path) -> CommandLine:
    made = CommandLine(tmp_path)
    folder = made.home / "defs" / "readings"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(DECLARATION)
    return made


@contextmanager
def serve(shell: CommandLine, *arguments: str, **more: str) -> Iterator[Running]:
    command = [str(shell.folder / "bin" / "timestore"), "serve", "--port", "0", *arguments]
    environment = {**shell.environment, **more}
    with subprocess.Popen(
        command, env=environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.stderr.read() if process.stderr else ""
            timer.cancel()
            yield Running(process=process, told=first)
        finally:
            timer.cancel()
            process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_asked_to_stop(shell: CommandLine, sign: signal.Signals) -> None:
    with serve(shell, "--json") as running:
        assert httpx.get(f"{running.url}/health", trust_env=False).json() == {"status": "alive"}
        assert httpx.get(f"{running.url}/ready", trust_env=False).json()["status"] == "ready"
        code, err = running.stop(sign)
    assert code == 0, err
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["route"] for line in lines if line["event"] == "request"] == ["/health", "/ready"]


def test_what_was_taken_in_is_answered_and_landed_before_it_ends(shell: CommandLine) -> None:
    answers: list[httpx.Response] = []
    records = {"records": [{"at": "2026-02-01T00:00:00Z", "station": "a", "temp": 1.5}]}
    with serve(shell, "--json", TIMESTORE_INGEST_LINGER_MS="2000") as running:
        url = f"{running.url}/datasets/readings/ingest"
        sending = threading.Thread(target=lambda: answers.append(httpx.post(url, json=records, timeout=30, trust_env=False)))
        sending.start()
        _until_waiting(running.url)
        code, err = running.stop(signal.SIGTERM)
        sending.join(STOP_SECONDS)
    assert code == 0, err
    assert [answer.status_code for answer in answers] == [200], answers[0].text
    assert answers[0].json()["landed"] == 1
    assert shell.inside("query", "readings", "--format", "json").json == [
        {"at": "2026-02-01T00:00:00Z", "station": "a", "temp": 1.5}
    ]


def _until_waiting(url: str) -> None:
    """Wait until the request has come in."""
    for _ in range(200):
        if "timestore_http_requests_in_flight 2.0" in httpx.get(f"{url}/metrics", trust_env=False).text:
            return
    raise AssertionError("the request never came in")


def test_people_are_told_where_to_look(shell: CommandLine) -> None:
    with serve(shell) as running:
        assert running.process.stdout is not None
        told = running.told + "".join(running.process.stdout.readline() for _ in range(3))
        running.stop(signal.SIGTERM)
    assert "http://127.0.0.1:" in told
    assert "/docs" in told
    assert "until there is a token" in told


def test_a_busy_port_is_one_clear_line(shell: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell.inside("serve", "--port", port)
        dev = shell.inside("dev", "--http-port", port)
        flight = shell.inside("serve", "--port", "0", "--flight", f"127.0.0.1:{port}")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: port {port} is busy; stop what listens there or choose another with --port\n"
    assert (dev.code, dev.err) == (2, done.err.replace("--port", "--http-port"))
    assert (flight.code, flight.out, flight.err) == (2, "", done.err.replace("--port", "--flight"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.invalid"])
def test_other_machines_are_let_in_only_when_callers_can_be_told_apart(shell: CommandLine, host: str) -> None:
    done = shell.inside("serve", "--host", host, "--port", "0")
    assert (done.code, done.out) == (3, "")
    assert "make a token first" in done.err
    assert len(done.err.splitlines()) == 1


def test_with_a_token_any_address_will_do(shell: CommandLine) -> None:
    made = shell.inside("tokens", "create", "one", "--scope", "timestore:read")
    assert made.code == 0, made.err
    with serve(shell, "--json", "--host", "0.0.0.0") as running:
        assert httpx.get(f"{running.url}/datasets", trust_env=False).status_code == 401
        running.stop(signal.SIGTERM)


def test_flight_is_served_beside_http_in_the_same_loop(shell: CommandLine) -> None:
    with serve(shell, "--json", "--flight", "127.0.0.1:0") as running:
        place = json.loads(running.told)["flight"]
        assert ask(place, "SELECT count(*) AS n FROM readings").to_pylist() == [{"n": 0}]
        assert httpx.get(f"{running.url}/health", trust_env=False).status_code == 200
        code, err = running.stop(signal.SIGTERM)
    assert code == 0, err
    called = [json.loads(line) for line in err.splitlines()]
    assert {(one["method"], one["status"]) for one in called if one["event"] == "request"} >= {("DoGet", "OK"), ("GET", 200)}


@pytest.mark.parametrize("changed", [{"TIMESTORE_LOG_LEVEL": "loud"}, {"TIMESTORE_SERVE_PORT": "0"}])
def test_a_wrong_setting_is_named(shell: CommandLine, changed: dict[str, Any]) -> None:
    done = shell.inside("serve", **changed)
    assert done.code == 2
    assert done.err.startswith(f"error: {next(iter(changed))}: ")


def test_addresses_that_are_not_here_are_refused(shell: CommandLine) -> None:
    done = shell.inside("serve", "--host", "203.0.113.9", "--port", "0", TIMESTORE_TRUSTED_PROXIES="203.0.113.1")
    assert done.code == 2
    assert done.err == "error: 203.0.113.9 is no address of this machine; choose another with --host\n"


def test_dev_runs_the_service_too(shell: CommandLine) -> None:
    ui, http = _free_port(), _free_port()
    command = [str(shell.folder / "bin" / "timestore"), "dev", "--port", str(ui), "--http-port", str(http)]
    with subprocess.Popen(
        command, env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            _until_alive(f"http://127.0.0.1:{http}", process)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=2 * STOP_SECONDS)
        finally:
            process.terminate()  # a kill would leave behind what it started
    assert f"Dagster UI on http://127.0.0.1:{ui}" in told
    assert f"HTTP service on http://127.0.0.1:{http}" in told
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{http}/health", trust_env=False)


def _until_alive(url: str, process: subprocess.Popen[str]) -> None:
    over = threading.Event()
    timer = threading.Timer(START_SECONDS, over.set)
    timer.start()
    try:
        while not over.wait(0.2):
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            try:
                assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
            except httpx.ConnectError:
                continue
            return
    finally:
        timer.cancel()
    raise AssertionError("the service never answered")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
