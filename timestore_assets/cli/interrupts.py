"""Ctrl-C, also where a library swallows it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

PATIENCE = 3
"""Presses of Ctrl-C after which the process ends at once; whatever it was doing is made to survive that."""


class CtrlC:
    """While entered, remembers that Ctrl-C was pressed.

    It raises KeyboardInterrupt as usual, but DuckDB turns that into errors of its own when it strikes inside a query, and
    those must not be reported as faults. `pressed`: how often.
    """

    def __init__(self) -> None:
        self.pressed = 0
        self._installed = False

    def __enter__(self) -> Self:
        # an ignored SIGINT stays ignored (a background job), and only the main thread may set handlers
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)
            self._installed = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.pressed += 1
        if self.pressed >= PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt


@contextmanager
def ctrl_c_calls(stop: Callable[[], object]) -> Iterator[None]:
    """Inside, Ctrl-C calls `stop`, in a thread, also while a library computes and lets no handler of Python's run.

    The usual KeyboardInterrupt follows when that library returns.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)

    def listen() -> None:
        while numbers := heard.recv(1):
            if numbers[0] == signal.SIGINT:
                stop()

    listener = threading.Thread(target=listen, name="ctrl-c", daemon=True)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        listener.join(timeout=1.0)
        heard.close()


@contextmanager
def asking_to_stop() -> Iterator[threading.Event]:
    """Inside, the first Ctrl-C or SIGTERM only sets the event, so that what is under way is finished; the second interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        usual = before[signal.SIGINT]
        if asked.is_set() and callable(usual):
            usual(number, frame)
        asked.set()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
