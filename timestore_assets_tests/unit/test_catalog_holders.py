"""Whether the process that holds something is known to be gone from this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from timestore_assets.catalog.holders import is_gone, shown, this_process

OWN = this_process()
SHOW = "from timestore_assets.catalog.holders import this_process; print(this_process(), flush=True)"

pytestmark = pytest.mark.skipif("@" not in OWN, reason="this system does not say when a process began")


def of_a_process_that_ended() -> str:
    return subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_a_process_that_runs_is_not_gone_whatever_is_appended() -> None:
    assert not is_gone(OWN) and not is_gone(f"{OWN}:1a2b3c4d") and not is_gone(f"{OWN}#7-1a2b")
    assert shown(f"{OWN}:1a2b3c4d") == f"{socket.gethostname()}:{os.getpid()}"


def test_a_process_that_ended_is_gone_also_before_its_parent_asks_how() -> None:
    assert is_gone(of_a_process_that_ended())
    child = subprocess.Popen([sys.executable, "-c", SHOW], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        holder = child.stdout.readline().strip()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(holder)
    finally:
        child.communicate(timeout=60)


def test_a_number_that_is_used_again_is_another_process() -> None:
    assert is_gone(re.sub(r"@\d+\.", "@1.", OWN))


@pytest.mark.parametrize(
    ("pattern", "other"),
    [(r"^[^:]+", "elsewhere"), (r"[0-9a-f]{12}$", "0123456789ab"), (r"@.*", ""), (r"[0-9a-f]{12}$", "0123456789abc")],
)
def test_of_another_machine_or_container_nothing_is_known(pattern: str, other: str) -> None:
    assert not is_gone(re.sub(pattern, other, of_a_process_that_ended()))


@pytest.mark.parametrize("holder", ["", "test", "a-run-of-dagster", "host:12", "sensor", "verify:1a2b"])
def test_a_holder_that_names_no_process_is_never_gone(holder: str) -> None:
    assert not is_gone(holder)
    assert shown(holder) == holder
