"""Landing what programs send over HTTP: requests that are in flight together share one commit, for each dataset by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from timestore_assets.decoding.column_names import check_header
from timestore_assets.decoding.record_fields import formed_names
from timestore_assets.landing.preparing.earlier_values import as_sent
from timestore_assets.landing.requests.request_queue import BufferFullError, Queue, QueueCapacity, QueueLimits, Waiting
from timestore_assets.landing.requests.request_worker import GroupCommit, GroupLander
from timestore_assets.landing.requests.submission import Answer, KeyReusedError, Request, Submission, again
from timestore_assets.landing.topics.backpressure import Backlog, should_pause
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import RefusedError, TimestoreError, UnavailableError
from timestore_assets.segments.publishing import WriteContext

__all__ = ["BufferFullError", "GroupCommit", "GroupLanders", "QueueLimits", "Waiting"]

_GAUGE_SECONDS = 1.0
_CLOSE_SECONDS = 60.0


class GroupLanders:
    """Lands requests of all datasets, a thread and a session for each that has any; close it.

    `noticed`: called after each commit, in its thread. `gauge`: what waits behind landing in
    a dataset, by name; None where nobody asks.
    """

    def __init__(
        self,
        context: WriteContext,
        *,
        bounds: QueueLimits,
        noticed: Callable[[GroupCommit], None],
        gauge: Callable[[str], Backlog] | None = None,
    ) -> None:
        self._context = replace(context, retry=replace(context.retry, seconds=bounds.patience_seconds))
        self._noticed, self._gauge = noticed, gauge
        self.bounds = bounds
        self._room = QueueCapacity(bounds)
        self._lock = threading.Lock()
        self._queues: dict[str, Queue] = {}
        self._landers: dict[str, GroupLander] = {}
        self._by_key: dict[tuple[str, str], Request] = {}
        self._paused: dict[str, str] = {}
        self._closing = threading.Event()
        self._gauging: threading.Thread | None = None

    def submit(self, dataset: Dataset, source: HttpSource, submission: Submission) -> Future[Answer]:
        """Let a request wait for its commit. The future gives its answer, or one of the errors below.

        Raises:
            RefusedError: the dataset asks for what requests can't give (`order: strict`).
            BadFileError: the columns of the body don't fit the dataset.
            KeyReusedError: its key is being used for other content.
            BufferFullError: too much waits already, here or behind landing.
            UnavailableError, StorageFullError: nothing of it landed.
        """
        if dataset.order == "strict":
            raise RefusedError(f"dataset {dataset.name!r} has `order: strict`, which requests can't keep; write `order: any`")
        if submission.body.columns is not None:
            declared = as_sent(dataset.schema)
            names = formed_names(submission.body.columns, dataset.form_of(source), {}, declared, what="body")
            check_header(names, declared, what="body")
        request = Request(submission=submission, dataset=dataset, source=source)
        # a client that goes away must not take the request out of the hands of the landing thread
        request.answer.set_running_or_notify_cancel()
        first = self._admit(request)
        if first is None:
            return request.answer
        if first.digests()[1] != request.digests()[1]:
            raise KeyReusedError(first.key or "")
        first.answer.add_done_callback(partial(_answer_alike, request))
        return request.answer

    def waiting(self) -> dict[str, Waiting]:
        """What waits or is being landed, by dataset."""
        with self._lock:
            return {name: queue.held for name, queue in sorted(self._queues.items())}

    def paused(self) -> dict[str, str]:
        """Datasets that take nothing now because too much waits behind landing, and why."""
        with self._lock:
            return dict(self._paused)

    def let_go(self, name: str) -> None:
        """End the thread of a dataset that is no longer served, unless requests wait for it."""
        with self._lock:
            queue = self._queues.get(name)
            if queue is None or queue.held.requests:
                return
            del self._queues[name], self._landers[name]
            self._paused.pop(name, None)
        queue.close()

    @property
    def are_alive(self) -> bool:
        """Whether every thread that lands is at work."""
        with self._lock:
            return all(lander.is_alive for lander in self._landers.values())

    def close(self) -> None:
        """Land what waits, and end the sessions."""
        with self._lock:
            self._closing.set()
            queues, landers = list(self._queues.values()), list(self._landers.values())
        for queue in queues:
            queue.close()
        for lander in landers:
            lander.join(_CLOSE_SECONDS)
        if self._gauging is not None:
            self._gauging.join(_CLOSE_SECONDS)

    def _admit(self, request: Request) -> Request | None:
        """Let a request wait; gives instead the one that is under way with the same key, if there is one."""
        name = request.dataset.name
        with self._lock:
            if self._closing.is_set():
                raise UnavailableError("the service is stopping; send it again")
            key = None if request.key is None else (name, request.key)
            if key is not None and key in self._by_key:
                return self._by_key[key]
            if reason := self._paused.get(name):
                seconds = self.bounds.pause_seconds
                raise BufferFullError(f"landing in {name!r} waits: {reason}", retry_after=seconds)
            self._queue_of(name).put(request)
            if key is not None:
                self._by_key[key] = request
        return None

    def _queue_of(self, name: str) -> Queue:
        """The queue of a dataset, with a thread that empties it."""
        queue = self._queues.setdefault(name, Queue(name, self._room))
        if name not in self._landers or not self._landers[name].is_alive:
            self._landers[name] = GroupLander(
                self._context, queue, bounds=self.bounds, finished=self._finished, noticed=self._noticed
            )
            self._landers[name].start()
        if self._gauging is None and self._gauge is not None:
            self._gauging = threading.Thread(target=self._watch_backlogs, args=(self._gauge,), name="ingest-gauge", daemon=True)
            self._gauging.start()
        return queue

    def _finished(self, request: Request) -> None:
        name = request.dataset.name
        with self._lock:
            if request.key is not None and self._by_key.get((name, request.key)) is request:
                del self._by_key[name, request.key]
            self._queues[name].done(request)

    def _watch_backlogs(self, gauge: Callable[[str], Backlog]) -> None:
        while not self._closing.wait(_GAUGE_SECONDS):
            with self._lock:
                names = list(self._queues)
            for name in names:
                self._judge(name, gauge)

    def _judge(self, name: str, gauge: Callable[[str], Backlog]) -> None:
        try:
            reason = should_pause(gauge(name), self.bounds.marks, paused=name in self._paused)
        except TimestoreError:
            return  # the catalog is away; commits will say so
        with self._lock:
            if reason:
                self._paused[name] = reason
            else:
                self._paused.pop(name, None)


def _answer_alike(request: Request, first: Future[Answer]) -> None:
    error = first.exception()
    if error is not None:
        request.fail(error)
    else:
        request.succeed(again(first.result()))
