"""SQL in a process of its own, whose memory the kernel limits and which can be killed at any moment.

DuckDB's memory limit does not hold for single values: a text that is doubled often enough takes all there is, and nothing
interrupts the expression that does it. Starting Python anew takes half a second, so one process stays, and forks the others.

It is not the fork server of `multiprocessing`: of that there is one a process, which Dagster's executor uses too; it keeps the
environment of its parent, secrets and all; and each child imports the program's main module, so that the first byte takes
3.5 times as long (98 ms against 28 ms, 2 busy cores).
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

import timestore_assets
from timestore_assets.model import errors
from timestore_assets.model.errors import InputError, TimeLimitError, TimestoreError, UnavailableError
from timestore_assets.querying.sql.runner import Executor, InProcess, SqlJob
from timestore_assets.querying.sql.tables_read import MAX_BYTES as MAX_READING_BYTES
from timestore_assets.querying.sql.tables_read import Asked, TablesRead
from timestore_assets.segments.engine import EngineLimits

READING, SCHEMA, BATCH, ERROR, END = b"R", b"S", b"B", b"E", b"Z"
MAX_MESSAGE_BYTES = 256_000_000
"""Of what comes from a process, a single message; it cuts its batches into far smaller ones, so this is one row."""
_MODULE = "timestore_assets.querying.sql.sql_worker_process"
POSSIBLE = hasattr(os, "pidfd_open")
"""Linux alone has what this takes; elsewhere, on a laptop, SQL runs in the service's own process."""
READING_IT, RUNNING_IT = "reading the SQL", "running the SQL"
_MAX_WORDS = 10_000
_log = logging.getLogger(__name__)
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")
"""What of the environment a worker gets: settings and their secrets are none of its business."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a process is given first: a text to read, and the limits of everything that it does."""

    asked: Asked
    limits: EngineLimits


class SqlWorker:
    """A process that reads a text and computes its job. `handle`: its pidfd, which names no other process later on."""

    def __init__(self, handle: int, jobs: Connection, answers: Connection) -> None:
        self._handle, self._jobs, self._answers = handle, jobs, answers

    def send(self, order: Order | SqlJob) -> None:
        self._jobs.send_bytes(pickle.dumps(order))

    def receive(self, most: int) -> tuple[bytes, memoryview]:
        """Kind and content of the next message; EOFError when the process has ended, OSError when it is longer than `most`."""
        found = memoryview(self._answers.recv_bytes(most))
        return bytes(found[:1]), found[1:]

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
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": package}
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
            socket.send_fds(self._orders, [b"w"], [job_end, answer_end])
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

    def close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


class Workers:
    """Gives each job a process of its own. Thread-safe; nothing is started before the first."""

    def __init__(self) -> None:
        self._nursery: _Nursery | None = None
        self._lock = threading.Lock()

    def room(self, limits: EngineLimits) -> Executor:
        """Where a text is read and its job computed.

        Raises:
            UnavailableError: no process can be started.
        """
        if not POSSIBLE:
            return InProcess(limits)
        with self._lock:
            for _ in range(2):
                self._nursery = self._nursery or _Nursery()
                try:
                    return Apart(limits, self._nursery.worker())
                except OSError:
                    self._nursery.close()
                    self._nursery = None
        raise UnavailableError("no process can be started for the SQL; ask again in a moment")

    def close(self) -> None:
        """End them all."""
        with self._lock:
            nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()


class Apart:
    """An executor in another process; see `runner.Executor`."""

    def __init__(self, limits: EngineLimits, worker: SqlWorker) -> None:
        self._limits, self._worker = limits, worker
        self._schema: pa.Schema | None = None
        self._interrupted = False
        self._doing = READING_IT

    def read(self, asked: Asked) -> TablesRead:
        """See `Executor`."""
        self._send(Order(asked=asked, limits=self._limits))
        _, content = self._received(MAX_READING_BYTES)
        return TablesRead.of_json(bytes(content))

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
                return
            yield pa.ipc.read_record_batch(pa.py_buffer(content), self._schema)

    def interrupt(self) -> None:
        """See `Executor`."""
        self._interrupted = True
        self._worker.kill()

    def close(self) -> None:
        """See `Executor`."""
        self._worker.close()

    def _send(self, order: Order | SqlJob) -> None:
        try:
            self._worker.send(order)
        except OSError:
            raise self._gone() from None

    def _received(self, most: int = MAX_MESSAGE_BYTES) -> tuple[bytes, memoryview]:
        try:
            kind, content = self._worker.receive(most)
        except (EOFError, OSError):
            raise self._gone() from None
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
