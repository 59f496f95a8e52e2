"""Work that is killed at a chosen point, in a fork of a process that has everything imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING_SECONDS = 60.0


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


@contextmanager
def orders_to(module: str, **always: Any) -> Iterator[Callable[..., str]]:
    """Gives orders to a module of `support` that answers them in a process of its own. `always`: what each order says too."""
    command = [sys.executable, "-m", f"timestore_assets_tests.support.{module}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def give(**order: Any) -> str:
            orders.write(json.dumps(always | order) + "\n")
            orders.flush()
            return answers.readline().strip()

        yield give
        orders.close()
        process.wait(ENDING_SECONDS)


def answer_orders(
    carry_out: Callable[[dict[str, Any]], int], *, prepare: Callable[[dict[str, Any]], object] | None = None
) -> None:
    """For each line of the input, a JSON object, print what carrying it out gave, or `killed`. `prepare`: before the fork."""
    for line in sys.stdin:
        order = json.loads(line)
        if prepare is not None:
            prepare(order)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(carry_out(order)).encode())
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        answer = os.read(read, 100).decode()
        os.close(read)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else answer or f"failed with status {status}", flush=True)
