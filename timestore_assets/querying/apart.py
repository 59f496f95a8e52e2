"""SQL in a process of its own, whose memory the kernel limits and which can be killed at any moment.

DuckDB's memory limit does not hold for single values: a text that is doubled often enough takes all there is, and nothing
interrupts the expression that does it. Starting Python anew takes half a second, so one process stays, and forks the others.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

import timestore_assets
from timestore_assets.model import errors
from timestore_assets.model.errors import TimeLimitError, TimestoreError, UnavailableError
from timestore_assets.querying.room import Here, Job, Room

SCHEMA, BATCH, ERROR, END = b"S", b"B", b"E", b"Z"
_MODULE = "timestore_assets.querying.apart_worker"
POSSIBLE = hasattr(os, "pidfd_open")
"""Linux alone has what this takes; elsewhere, on a laptop, SQL runs in the service's own process."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")
"""What of the environment a worker gets: settings and their secrets are none of its business."""


class Worker:
    """A process that computes one job. `handle`: its pidfd, which names no other process, whatever became of this one."""

    def __init__(self, handle: int, jobs: Connection, answers: Connection) -> None:
        self._handle, self._jobs, self._answers = handle, jobs, answers

    def send(self, job: Job) -> None:
        self._jobs.send_bytes(pickle.dumps(job))

    def receive(self) -> tuple[bytes, memoryview]:
        """Kind and content of the next message; EOFError when the process has ended."""
        found = memoryview(self._answers.recv_bytes())
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

    def worker(self) -> Worker:
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
        return Worker(handles[0], Connection(jobs, readable=False), Connection(answers, writable=False))

    def close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


class Workers:
    """Gives each job a process of its own. Thread-safe; nothing is started before the first."""

    def __init__(self) -> None:
        self._nursery: _Nursery | None = None
        self._lock = threading.Lock()

    def room(self, job: Job) -> Room:
        """Where the job is computed.

        Raises:
            UnavailableError: no process can be started.
        """
        if not POSSIBLE:
            return Here(job)
        with self._lock:
            for _ in range(2):
                self._nursery = self._nursery or _Nursery()
                try:
                    return Apart(job, self._nursery.worker())
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
    """A room in another process; see `room.Room`."""

    def __init__(self, job: Job, worker: Worker) -> None:
        self._job, self._worker = job, worker
        self._schema: pa.Schema | None = None
        self._interrupted = False

    def open(self) -> pa.Schema:
        """See `Room`."""
        try:
            self._worker.send(self._job)
        except OSError:
            raise self._gone() from None
        _, content = self._received()
        self._schema = pa.ipc.read_schema(pa.py_buffer(content))
        return self._schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Room`."""
        while True:
            kind, content = self._received()
            if kind == END:
                return
            yield pa.ipc.read_record_batch(pa.py_buffer(content), self._schema)

    def interrupt(self) -> None:
        """See `Room`."""
        self._interrupted = True
        self._worker.kill()

    def close(self) -> None:
        """See `Room`."""
        self._worker.close()

    def _received(self) -> tuple[bytes, memoryview]:
        try:
            kind, content = self._worker.receive()
        except (EOFError, OSError):
            raise self._gone() from None
        if kind == ERROR:
            raise _error(bytes(content))
        return kind, content

    def _gone(self) -> TimestoreError:
        """Why the process has ended: somebody stopped it, else nothing but a lack of memory makes it."""
        if self._interrupted:
            return TimeLimitError("stopped running the SQL: the time limit was reached; narrow the range or ask for less")
        return UnavailableError("the memory limit is too small for running the SQL; narrow the range or raise TIMESTORE_MEMORY")


def error_message(error: TimestoreError) -> bytes:
    """An error on its way here."""
    return json.dumps([type(error).__name__, str(error)]).encode()


def _error(message: bytes) -> TimestoreError:
    name, text = json.loads(message)
    kind = getattr(errors, name, TimestoreError)
    found: TimestoreError = kind(text)
    return found
