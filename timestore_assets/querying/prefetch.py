"""The objects of the steps to come, fetched while one is computed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.segment import Segment
from timestore_assets.querying.plan import Step
from timestore_assets.tracing import here, span

STEPS_AHEAD = 2
BYTES_AHEAD = 1_000_000_000
"""No second step is fetched ahead when this and the first are larger than that together."""
_AT_ONCE = 16
"""Objects between two looks at whether somebody still wants them."""

Fetch = Callable[[Sequence[Segment], Step], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ahead:
    """A step that is being fetched. `held`: what keeps its objects here, which is closed when they are no longer needed."""

    step: Step
    bytes: int
    unwanted: threading.Event
    held: Future[ExitStack]

    def let_go(self) -> None:
        self.unwanted.set()
        self.held.add_done_callback(_release)


def fetched_ahead(steps: Iterator[Step], fetch: Fetch) -> Generator[Step, None, None]:
    """The steps in order. While the caller works on one, the objects of the next are fetched, and held until it is done.

    Closing the generator ends it: what is under way is fetched to its end, and nothing is waited for. A step that can't be
    fetched is no failure here; whoever works on it will find that out.
    """
    place = here()
    waiting: deque[_Ahead] = deque()
    last: _Ahead | None = None
    pool = ThreadPoolExecutor(1, "prefetch")

    def begin(step: Step) -> _Ahead:
        unwanted = threading.Event()

        def run() -> ExitStack:
            with span("prefetch", parent=place, segments=len(step.segments)):
                return _held(step, fetch, unwanted)

        size = sum(segment.bytes for segment in step.segments)
        return _Ahead(step=step, bytes=size, unwanted=unwanted, held=pool.submit(run))

    try:
        step = next(steps, None)
        while step is not None:
            while len(waiting) < STEPS_AHEAD and sum(one.bytes for one in waiting) < BYTES_AHEAD and (more := next(steps, None)):
                waiting.append(begin(more))
            yield step
            if last is not None:
                last.let_go()
            last = waiting.popleft() if waiting else None
            step = last.step if last else None
    finally:
        for one in (*waiting, *([last] if last else [])):
            one.let_go()
        pool.shutdown(wait=False, cancel_futures=True)


def _held(step: Step, fetch: Fetch, unwanted: threading.Event) -> ExitStack:
    """Fetch a step's objects until that is done or nobody wants it."""
    with ExitStack() as stack, suppress(TimestoreError):
        for first in range(0, len(step.segments), _AT_ONCE):
            if unwanted.is_set():
                break
            stack.enter_context(fetch(step.segments[first : first + _AT_ONCE], step))
        return stack.pop_all()
    return ExitStack()


def _release(held: Future[ExitStack]) -> None:
    if not held.cancelled() and held.exception() is None:
        held.result().close()
