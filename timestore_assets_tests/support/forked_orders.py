"""Work that is killed at a chosen point, in a fork of a process that has everything imported."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any


def calls_of(work: Callable[[], object], *, kill_at: int, every_thread: bool = False) -> int:
    """The number of function calls that the work makes. `kill_at`: this process kills itself the hard way at that one; 0: never.

    `every_thread`: count the calls of threads begun meanwhile too.
    """
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event in ("call", "c_call"):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if every_thread:
        threading.setprofile(count)
    sys.setprofile(count)
    work()
    sys.setprofile(None)
    threading.setprofile(None)
    return calls


def answer_orders(carry_out: Callable[[dict[str, Any]], int]) -> None:
    """For each line of the input, a JSON object, print what carrying it out gave, or `killed`."""
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(carry_out(json.loads(line))).encode())
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        answer = os.read(read, 100).decode()
        os.close(read)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else answer or f"failed with status {status}", flush=True)
