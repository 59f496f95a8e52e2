"""How many questions are answered at a time, whose turn it is, and how many may wait for theirs.

Turns are shared by principal: a free one goes to who has the fewest, and of those to who was served longest ago. So a caller who
asks a thousand questions at once takes time from itself alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from timestore_assets.model.errors import TimestoreError
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets.service.problems import TooManyRequestsError

T = TypeVar("T")
LOCAL = "local"
"""The principal of all programs of this machine while there are no tokens: nobody else can be there."""
_LONGEST_RETRY = 30


class _Place:
    """One question's place in a queue. `settled`: it may begin, or `refused`."""

    def __init__(self) -> None:
        self.settled, self.refused = anyio.Event(), False


class QueryGate:
    """Lets `concurrency` questions in, keeps `waiting` more, refuses the rest. Belongs to one event loop.

    One principal has all turns but one at most, and where too many wait, the newest of who has most waiting is refused.
    Each question has a thread of its own, so that questions never wait for other requests' threads, nor those for them.
    """

    def __init__(self, *, concurrency: int, waiting: int) -> None:
        self._limit, self._most_waiting = concurrency, waiting
        self._share = max(1, concurrency - 1)
        self._running: Counter[str] = Counter()
        # principals in the order in which they were served, the one of longest ago first
        self._queues: dict[str, deque[_Place]] = {}
        self._threads = anyio.CapacityLimiter(concurrency)

    @property
    def inside(self) -> int:
        """How many questions are being answered."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def entered(self, principal: str) -> AsyncIterator[None]:
        """One question's turn.

        Raises:
            TooManyRequestsError: as many as may are waiting already, and nobody has more of them than this principal.
        """
        if self._queues.get(principal) or not self._may_run(principal):
            await self._turn(principal)
        else:
            self._running[principal] += 1
        try:
            yield
        finally:
            self._end(principal)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks, for somebody who has entered; it is always waited for."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def _may_run(self, principal: str) -> bool:
        share = self._limit if principal == LOCAL else self._share
        return self.inside < self._limit and self._running[principal] < share

    async def _turn(self, principal: str) -> None:
        """Wait in this principal's queue; it counts as running afterwards."""
        place = self._place(principal)
        try:
            await place.settled.wait()
        except anyio.get_cancelled_exc_class():
            if not place.settled.is_set():
                self._leave(principal, place)
            elif not place.refused:
                # called in the very moment in which its client went
                self._end(principal)
            raise
        if place.refused:
            raise self._too_many(principal)

    def _place(self, principal: str) -> _Place:
        """A place at the end of the queue, which another principal may have to give up for it."""
        own = len(self._queues.get(principal, ()))
        if self.waiting >= self._most_waiting:
            longest = max(self._queues, key=lambda one: len(self._queues[one]), default=principal)
            if len(self._queues.get(longest, ())) <= own + 1:
                raise self._too_many(principal)
            last = self._queues[longest][-1]
            last.refused = True
            self._leave(longest, last)
            last.settled.set()
        place = _Place()
        self._queues.setdefault(principal, deque()).append(place)
        return place

    def _leave(self, principal: str, place: _Place) -> None:
        queue = self._queues[principal]
        queue.remove(place)
        if not queue:
            del self._queues[principal]

    def _end(self, principal: str) -> None:
        self._running[principal] -= 1
        if not self._running[principal]:
            del self._running[principal]
        self._call()

    def _call(self) -> None:
        """Give free turns to those who wait."""
        while able := [one for one in self._queues if self._may_run(one)]:
            principal = min(able, key=lambda one: self._running[one])
            queue = self._queues.pop(principal)
            queue.popleft().settled.set()
            self._running[principal] += 1
            if queue:
                self._queues[principal] = queue

    def _too_many(self, principal: str) -> TooManyRequestsError:
        own = len(self._queues.get(principal, ()))
        said = f"{self._running[principal]} of your questions are being answered and {own} wait; ask again in a moment"
        return TooManyRequestsError(said, retry_after=min(_LONGEST_RETRY, 1 + own // self._limit))


async def in_turn(
    request: Request, gate: QueryGate, work: Callable[[Callable[[Cancellable], object]], T], *, principal: str
) -> T:
    """What the work gives; the request's body has to be read before. `work`: calls what it is given with what stops it.

    Raises:
        TooManyRequestsError: as `QueryGate.entered`. Errors of the work come as they are.
    """
    running: list[Cancellable] = []
    found: list[T] = []

    def stop() -> None:
        for one in running:
            one.interrupt()

    async def take_turn() -> None:
        async with gate.entered(principal):
            found.append(await gate.in_thread(lambda: work(running.append)))

    await while_connected(request.receive, take_turn, stop=stop)
    if not found:
        raise ClientDisconnect
    return found[0]


async def while_connected(receive: Receive, work: Callable[[], Awaitable[None]], *, stop: Callable[[], None]) -> None:
    """Do the work, which is stopped and cancelled when the client goes. Its errors of this project come as they are."""
    failure: TimestoreError | None = None

    async def stop_without_client(scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        stop()
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(stop_without_client, group.cancel_scope)
        try:
            await work()
        except TimestoreError as error:  # a task group would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
