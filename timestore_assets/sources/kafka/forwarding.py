"""Forwarding dead letters beside a session, so that a topic that takes nothing holds no landing back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from timestore_assets.model.errors import TimestoreError

_END_SECONDS = 35.0
_AGAIN_SECONDS = 10.0


@contextmanager
def forwarded_beside(forward: Callable[[], int]) -> Iterator[Callable[[], None]]:
    """While entered, a thread forwards what waits whenever it is nudged, and once more at the end; gives the nudge.

    A failure is no failure of landing: the files stay marked, and are tried again some seconds later or by the next session.
    """
    nudged, ended = threading.Event(), threading.Event()

    def run() -> None:
        last = False
        while not last:
            nudged.wait(_AGAIN_SECONDS)
            nudged.clear()
            last = ended.is_set()  # before forwarding: what was committed until the end goes with it
            with suppress(TimestoreError):
                forward()

    thread = threading.Thread(target=run, name="dead-letter-forwarding", daemon=True)
    thread.start()
    try:
        yield nudged.set
    finally:
        ended.set()
        nudged.set()
        thread.join(_END_SECONDS)
