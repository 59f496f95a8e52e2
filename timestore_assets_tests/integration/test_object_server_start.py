"""Object stores for tests end with whoever started them, stand in for each other, and say why where they can't be had."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest

from timestore_assets_tests.support import object_server_binaries as binaries
from timestore_assets_tests.support import object_server_start as start

ROOT = Path(__file__).parent.parent.parent
WAIT = 60.0
CHILD = """
import sys
from timestore_assets_tests.support.object_server_start import s3_server
with s3_server() as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def answers(endpoint: str) -> bool:
    try:
        httpx.get(endpoint, timeout=WAIT)
    except httpx.ConnectError:
        return False
    return True


def refuse() -> Path:
    raise binaries.NoObjectServerError("go is not installed")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the only programs that are to be found, besides those of the system; nothing is fetched yet."""
    monkeypatch.setattr(binaries, "FOLDER", tmp_path / "fetched")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(binaries.shutil, "which", lambda name: (tmp_path / name).exists() or None)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_server_ends_with_its_block() -> None:
    with start.s3_server() as server:
        assert answers(server.endpoint)
    assert not answers(server.endpoint)


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, env=environment, **pipes) as owner:
        assert owner.stdout is not None
        endpoint = owner.stdout.readline().strip()
        assert answers(endpoint)
        owner.kill()
        owner.wait(WAIT)
    deadline = time.monotonic() + WAIT
    while answers(endpoint):
        assert time.monotonic() < deadline, "the server outlived its owner"
        time.sleep(0.02)


def test_moto_stands_in_for_the_gateway_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "versitygw", refuse)
    with start.s3_server() as server:
        assert server.product == "moto (go is not installed)"
        obstore.put(server.store(), "a", b"x")
        assert [found["path"] for found in obstore.list(server.store()).collect()] == ["a"]


def test_without_its_tools_the_reason_is_given(tools: Path) -> None:
    with pytest.raises(binaries.NoObjectServerError, match="go is not installed"):
        binaries.versitygw.__wrapped__()
    with pytest.raises(binaries.NoObjectServerError, match="node is not installed"):
        binaries.azurite.__wrapped__()


def test_a_failing_build_leaves_nothing_behind_and_names_no_address(tools: Path) -> None:
    program(tools / "go", "echo 'no such module: https://somewhere.example/x' >&2; exit 1")
    with pytest.raises(binaries.NoObjectServerError, match=r"^go failed: no such module:$"):
        binaries.versitygw.__wrapped__()
    assert [path.suffix for path in binaries.FOLDER.iterdir()] == [".lock"]


def test_a_program_is_built_once(tools: Path) -> None:
    program(tools / "go", f'echo built >> {tools}/builds; echo > "$GOBIN/versitygw"')
    assert binaries.versitygw.__wrapped__() == binaries.versitygw.__wrapped__()
    assert (tools / "builds").read_text() == "built\n"
