"""How many questions are answered at a time, and how many may wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from timestore_assets.service.problems import TooManyRequestsError

T = TypeVar("T")


class QueryGate:
    """Lets `concurrency` questions in, keeps `waiting` more, refuses the rest. Belongs to one event loop.

    Each has a thread of its own, so that questions never wait for other requests' threads, nor those for them.
    """

    def __init__(self, *, concurrency: int, waiting: int) -> None:
        self._limit, self._most_waiting, self.waiting = concurrency, waiting, 0
        self._turns = anyio.Semaphore(concurrency)
        self._threads = anyio.CapacityLimiter(concurrency)

    @property
    def inside(self) -> int:
        """How many questions are being answered."""
        return self._limit - self._turns.value

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """One question's turn.

        Raises:
            TooManyRequestsError: as many as may are waiting already.
        """
        if self._turns.value == 0 and self.waiting >= self._most_waiting:
            raise TooManyRequestsError(
                f"{self._limit} questions are being answered and {self.waiting} wait; ask again in a moment"
            )
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks, for somebody who has entered; it is always waited for."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)
