"""SQL in a process of its own, whose memory the kernel limits and which can be killed at any moment.

DuckDB's memory limit does not hold for single values: a text that is doubled often enough takes all there is, and nothing
interrupts the expression that does it. Starting Python anew takes half a second, so one process stays, and forks the others.
Forking and making a DuckDB take 35 ms, so a process whose statement ended well waits, with its rooms, for another by somebody
who may read the same datasets. One that was stopped, failed or has grown is gone.

It is not the fork server of `multiprocessing`: of that there is one a process, which Dagster's executor uses too; it keeps the
environment of its parent, secrets and all; and each child imports the program's main module, so that the first byte takes
3.5 times as long (98 ms against 28 ms, 2 busy cores).
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

import timestore_assets
from timestore_assets.model import errors
from timestore_assets.model.errors import InputError, TimeLimitError, TimestoreError, UnavailableError
from timestore_assets.querying.sql.readings import Readings
from timestore_assets.querying.sql.runner import Executor, InProcess, SqlJob
from timestore_assets.querying.sql.tables_read import MAX_BYTES as MAX_READING_BYTES
from timestore_assets.querying.sql.tables_read import Asked, TablesRead
from timestore_assets.segments.engine import EngineLimits

READING, SCHEMA, BATCH, ERROR, END = b"R", b"S", b"B", b"E", b"Z"
STAYS = b"+"
"""With END: the process waits for another order."""
FORK = b"w"
WARM = 2
"""Processes that wait, each with rooms of its own."""
MAX_MESSAGE_BYTES = 256_000_000
"""Of what comes from a process, a single message; it cuts its batches into far smaller ones, so this is one row."""
_MODULE = "timestore_assets.querying.sql.sql_worker_process"
POSSIBLE = hasattr(os, "pidfd_open")
"""Linux alone has what this takes; elsewhere, on a laptop, SQL runs in the service's own process."""
READING_IT, RUNNING_IT = "reading the SQL", "running the SQL"
_MAX_WORDS = 10_000
_log = logging.getLogger(__name__)
_ALLOCATING = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow's own allocator reserves 1 GB of address space with the first array, which is all that a limit leaves beside DuckDB."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")
"""What of the environment a worker gets: settings and their secrets are none of its business."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a process is given first: a text to read, None when it was read before, and the limits of everything that it does."""

    asked: Asked | None
    limits: EngineLimits


class SqlWorker:
    """A process that reads a text and computes its job. `handle`: its pidfd, which names no other process later on.

    Attributes: `has_waited`, whether it has had a job before.
    """

    def __init__(self, handle: int, jobs: Connection, answers: Connection) -> None:
        self._handle, self._jobs, self._answers = handle, jobs, answers
        self.has_waited = False

    def send(self, order: Order | SqlJob) -> None:
        self._jobs.send_bytes(pickle.dumps(order))

    def receive(self, most: int) -> tuple[bytes, memoryview]:
        """Kind and content of the next message; EOFError when the process has ended, OSError when it is longer than `most`."""
        found = memoryview(self._answers.recv_bytes(most))
        return bytes(found[:1]), found[1:]

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, as far as the kernel knows by now."""
        ended = select.poll()
        ended.register(self._handle, select.POLLIN)
        return not ended.poll(0)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        os.close(self._handle)
        self._jobs.close()
        self._answers.close()


class _Nursery:
    """The process that workers are forked from, with all modules loaded. It ends by itself when this one does, they with it."""

    def __init__(self) -> None:
        package = str(Path(timestore_assets.__file__).parent.parent)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": package} | _ALLOCATING
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", _MODULE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def worker(self) -> SqlWorker:
        """A new worker; OSError when the process has ended."""
        (job_end, jobs), (answers, answer_end) = os.pipe(), os.pipe()
        try:
            socket.send_fds(self._orders, [FORK], [job_end, answer_end])
            _, handles, _, _ = socket.recv_fds(self._orders, 1, 1)
            if not handles:
                raise BrokenPipeError
        except OSError:
            os.close(jobs)
            os.close(answers)
            raise
        finally:
            os.close(job_end)
            os.close(answer_end)
        return SqlWorker(handles[0], Connection(jobs, readable=False), Connection(answers, writable=False))

    def require(self) -> None:
        """OSError when the process has ended; then its workers end too."""
        if self._process.poll() is not None:
            raise BrokenPipeError

    def close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


class Workers:
    """Gives each job a process that nothing else is in. Thread-safe; nothing is started before the first.

    `most`: processes that wait for the next job. Attributes: `readings`, of texts that were asked here.
    """

    def __init__(self, *, most: int = WARM) -> None:
        self._nursery: _Nursery | None = None
        self._lock = threading.Lock()
        self._most, self._closed = most, False
        self._warm: list[tuple[Hashable, SqlWorker]] = []
        self.readings = Readings()

    def room(self, limits: EngineLimits) -> Executor:
        """Where a text is read and its job computed; its methods raise UnavailableError when no process can be started."""
        return Apart(limits, self) if POSSIBLE else InProcess(limits)

    def take(self, key: Hashable, *, new: bool = False) -> SqlWorker:
        """A process of that key: one that waits, else, or if it has to be `new`, one that is started for it.

        Raises:
            UnavailableError: none can be started.
        """
        with self._lock:
            for _ in range(2):
                self._nursery = self._nursery or _Nursery()
                try:
                    return (None if new else self._waiting(key, self._nursery)) or self._nursery.worker()
                except OSError:
                    self._nursery.close()
                    self._nursery = None
                    self._let_go()
        raise UnavailableError("no process can be started for the SQL; ask again in a moment")

    def give(self, key: Hashable, worker: SqlWorker) -> None:
        """Take back a process whose job ended well."""
        with self._lock:
            self._warm.append((key, worker))
            gone = self._warm if self._closed else self._warm[: -self._most]
            self._warm = self._warm[len(gone) :]
        for _, one in gone:
            one.close()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._closed = True
            self._let_go()
            nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()

    def _waiting(self, key: Hashable, nursery: _Nursery) -> SqlWorker | None:
        """The one of that key that came last."""
        if not self._warm:
            return None
        nursery.require()
        for place in range(len(self._warm) - 1, -1, -1):
            if self._warm[place][0] == key:
                _, found = self._warm.pop(place)
                if found.is_alive:
                    found.has_waited = True
                    return found
                found.close()
        return None

    def _let_go(self) -> None:
        warm, self._warm = self._warm, []
        for _, one in warm:
            one.close()


class Apart:
    """An executor in another process; see `runner.Executor`."""

    def __init__(self, limits: EngineLimits, workers: Workers) -> None:
        self._limits, self._workers = limits, workers
        self._worker: SqlWorker | None = None
        self._key: Hashable = None
        self._lock = threading.Lock()
        self._schema: pa.Schema | None = None
        self._interrupted = self._is_done = self._has_heard = False
        self._sent: list[Order | SqlJob] = []
        self._doing = READING_IT

    def read(self, asked: Asked) -> TablesRead:
        """See `Executor`."""
        # who may read other datasets gets another process, and with other limits it would have to be limited anew
        self._key = asked.datasets, self._limits
        self._use(self._workers.take(self._key))
        known = self._workers.readings.find(asked)
        self._send(Order(asked=asked if known is None else None, limits=self._limits))
        if known is not None:
            return known
        _, content = self._received(MAX_READING_BYTES)
        found = TablesRead.of_json(bytes(content))
        self._workers.readings.keep(asked, found)
        return found

    def open(self, job: SqlJob) -> pa.Schema:
        """See `Executor`."""
        self._doing = RUNNING_IT
        self._send(job)
        _, content = self._received()
        self._schema = pa.ipc.read_schema(pa.py_buffer(content))
        return self._schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Executor`."""
        while True:
            kind, content = self._received()
            if kind == END:
                self._is_done = bytes(content) == STAYS
                return
            yield pa.ipc.read_record_batch(pa.py_buffer(content), self._schema)

    def interrupt(self) -> None:
        """See `Executor`."""
        with self._lock:
            self._interrupted = True
            if self._worker is not None:
                self._worker.kill()

    def close(self) -> None:
        """See `Executor`."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is None:
            return
        if self._is_done and not self._interrupted:
            self._workers.give(self._key, worker)
        else:
            worker.close()

    @property
    def _at_work(self) -> SqlWorker:
        if self._worker is None:
            raise self._gone()
        return self._worker

    def _use(self, worker: SqlWorker) -> None:
        """Let a process be the one that is stopped; an error when that has happened before."""
        with self._lock:
            self._worker = worker
            if self._interrupted:
                raise self._gone()

    def _send(self, order: Order | SqlJob) -> None:
        self._sent.append(order)
        try:
            self._at_work.send(order)
        except OSError:
            if not self._began_anew():
                raise self._gone() from None

    def _began_anew(self) -> bool:
        """Whether another process has been given what this one was, since it died while it waited, or soon after.

        One that was started for this statement has nothing else to die of.
        """
        worker = self._worker
        if worker is None or self._interrupted or self._has_heard or not worker.has_waited:
            return False
        worker.close()
        self._use(self._workers.take(self._key, new=True))
        try:
            for order in self._sent:
                self._at_work.send(order)
        except OSError:
            return False
        return True

    def _received(self, most: int = MAX_MESSAGE_BYTES) -> tuple[bytes, memoryview]:
        try:
            kind, content = self._at_work.receive(most)
        except (EOFError, OSError):
            if self._began_anew():
                return self._received(most)
            raise self._gone() from None
        self._has_heard = True
        if kind == ERROR:
            raise _error(bytes(content))
        return kind, content

    def _gone(self) -> TimestoreError:
        """Why the process has ended: somebody stopped it, else nothing but a lack of memory makes it."""
        if self._interrupted:
            return TimeLimitError(f"stopped {self._doing}: the time limit was reached; narrow the range or ask for less")
        return out_of_memory(self._doing)


def out_of_memory(doing: str) -> TimestoreError:
    """The error that stands for a process without memory. Reading takes little, whatever the setting, unless it is a bomb."""
    if doing == READING_IT:
        return InputError("SQL: reading it takes more memory than a statement may; write it in less deep, or fewer, parts")
    return UnavailableError(f"the memory limit is too small for {doing}; narrow the range or raise TIMESTORE_MEMORY")


def error_message(error: TimestoreError, traceback: str = "") -> bytes:
    """An error on its way here. `traceback`: of what nobody foresaw, for the log."""
    return json.dumps([type(error).__name__, str(error)[:_MAX_WORDS], traceback[-_MAX_WORDS:]]).encode()


def _error(message: bytes) -> TimestoreError:
    name, text, traceback = json.loads(message)
    if traceback:
        _log.error("the process that ran an SQL statement failed: %s", traceback)
    kind = getattr(errors, name, TimestoreError)
    found: TimestoreError = kind(text)
    return found
