"""Reading the next batch while this one is written: exactly one in flight, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Iterate over `items`, the next of which is always already being made in another thread.

    An error while making one is raised when it would have been given. Leaving waits for the one in flight.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        yield _ahead(items, pool)


def _ahead(items: Iterator[T], pool: ThreadPoolExecutor) -> Iterator[T]:
    following: Future[tuple[T] | None] = pool.submit(_take, items)
    while (taken := following.result()) is not None:
        following = pool.submit(_take, items)
        yield taken[0]
        del taken  # or this batch would stay in memory while the one after the next is read


def _take(items: Iterator[T]) -> tuple[T] | None:
    for item in items:
        return (item,)
    return None
