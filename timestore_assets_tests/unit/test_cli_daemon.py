"""Child processes are started, watched and always stopped, with everything they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from timestore_assets.cli.dagster_processes import Child, refuse_busy_port, running
from timestore_assets.model.errors import InputError

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"


def child(script: str, folder: Path) -> Child:
    return Child("worker", [sys.executable, "-c", script], environment=dict(os.environ), folder=folder, log=folder / "worker.log")


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended, even if nobody has collected its exit code yet."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False)
    return shown.stdout.strip()[:1] in ("", "Z")


def test_a_child_and_its_own_children_are_stopped(tmp_path: Path) -> None:
    worker = child(PARENT, tmp_path)
    with running(worker):
        wait_for(lambda: worker.log_tail().strip() != "")
        grandchild = int(worker.log_tail())
        assert worker.exit_code is None
    assert worker.exit_code is not None
    wait_for(lambda: gone(grandchild))


def test_they_are_stopped_when_the_block_fails(tmp_path: Path) -> None:
    worker = child(PARENT, tmp_path)
    with pytest.raises(ZeroDivisionError), running(worker):
        raise ZeroDivisionError
    assert worker.exit_code is not None


def test_a_child_that_ignores_ctrl_c_is_terminated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timestore_assets.cli.dagster_processes.STOP_SECONDS", 0.3)
    worker = child(STUBBORN, tmp_path)
    with running(worker):
        wait_for(lambda: "here" in worker.log_tail())
    assert worker.exit_code == -signal.SIGTERM


def test_a_second_child_that_can_not_start_stops_the_first(tmp_path: Path) -> None:
    worker = child(PARENT, tmp_path)
    missing = Child("missing", [str(tmp_path / "nowhere")], environment={}, folder=tmp_path)
    with pytest.raises(FileNotFoundError), running(worker, missing):
        pytest.fail("the block must not be entered")
    assert worker.exit_code is not None


def test_sigterm_ends_the_block_like_ctrl_c(tmp_path: Path) -> None:
    worker = child(PARENT, tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), running(worker):
        signal.raise_signal(signal.SIGTERM)
    assert worker.exit_code is not None
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_child_that_ends_by_itself_is_seen_with_its_last_words(tmp_path: Path) -> None:
    worker = child("print('one'); print('two'); raise SystemExit(7)", tmp_path)
    with running(worker):
        assert worker.wait(20)
        assert worker.exit_code == 7
    assert worker.log_tail(1) == "two"


def test_a_busy_port_is_refused_and_a_free_one_is_not() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is busy"):
            refuse_busy_port(port)
    refuse_busy_port(port)
