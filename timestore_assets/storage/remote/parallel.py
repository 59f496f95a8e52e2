"""The same work for many things, several at a time; the first failure ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Sequence[T], *, limit: int) -> list[R]:
    """What `work` gives for each item, in their order, `limit` of them at a time.

    Raises:
        The error of the first item that failed; what had not begun by then is left out, what had is waited for.
    """
    if len(items) < 2 or limit < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(limit, len(items)), thread_name_prefix="storage") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for future in futures:
            if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                raise error
        return [future.result() for future in futures]
