"""Jobs of one landing call, done by a few threads side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from timestore_assets.landing.landing_session import Worker

_LOOK_SECONDS = 0.2


Job = Callable[[Worker], None]


class WorkQueue:
    """Jobs in order; one that is under way may add others, which come next. The first error ends it."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._running = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def is_stopped(self) -> bool:
        """Whether jobs that are under way should end soon."""
        return self._failure is not None

    def add_next(self, jobs: Sequence[Job]) -> None:
        """Jobs to be done before those that wait."""
        with self._changed:
            self._jobs.extendleft(reversed(jobs))
            self._changed.notify_all()

    def work_off(self, workers: Sequence[Worker]) -> None:
        """Do all jobs; in this thread when there is one worker.

        Raises:
            the first error of a job, or what interrupted this thread, once every thread has ended.
        """
        if len(workers) == 1:
            self._work(workers[0])
        else:
            threads = [threading.Thread(target=self._work, args=(worker,), name="landing") for worker in workers]
            for thread in threads:
                thread.start()
            self._wait(threads)
        if self._failure is not None:
            raise self._failure

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK_SECONDS)  # in steps, so that a signal is seen meanwhile
        except BaseException as interruption:
            self._stop(interruption)
            for thread in threads:
                thread.join()
            raise

    def _work(self, worker: Worker) -> None:
        while (job := self._take()) is not None:
            try:
                job(worker)
            except BaseException as error:
                self._stop(error)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def _take(self) -> Job | None:
        """The next job, waiting while one that is under way may still add some; None at the end."""
        with self._changed:
            while self._failure is None and not self._jobs and self._running:
                self._changed.wait()
            if self._failure is not None or not self._jobs:
                return None
            self._running += 1
            return self._jobs.popleft()

    def _stop(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()


class OrderedSection:
    """Lets numbered jobs through one by one in order of their numbers, from 0, whichever thread does them."""

    def __init__(self) -> None:
        self._next = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until all before it have been let through and are done."""
        with self._changed:
            while self._next != number:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._next += 1
                self._changed.notify_all()
