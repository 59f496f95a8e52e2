"""Ctrl-C is remembered where a library turns it into an error of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from timestore_assets.cli import main
from timestore_assets.cli.interrupts import CtrlC


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_interrupts_and_is_counted() -> None:
    with CtrlC() as ctrl_c:
        with pytest.raises(KeyboardInterrupt):
            press()
        assert ctrl_c.pressed == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CtrlC() as ctrl_c:
            press()
        assert ctrl_c.pressed == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_made_of_ctrl_c_is_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def query(arguments: list[str]) -> int:
        try:
            press()
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None
        return 0

    monkeypatch.setattr(main, "_invoke", query)
    assert main.run(["sql"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


STUBBORN = """
import signal, sys
from timestore_assets.cli.interrupts import CtrlC
with CtrlC():
    for _ in range(5):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("swallowed", flush=True)
"""


def test_the_third_press_ends_a_process_that_swallows_the_others() -> None:
    done = subprocess.run([sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stdout.splitlines() == ["swallowed", "swallowed"]
