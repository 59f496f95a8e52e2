"""SQL in a process of its own, whose memory the kernel limits and which can be killed at any moment.

DuckDB's memory limit does not hold for single values: a text that is doubled often enough takes all there is, and nothing
interrupts the expression that does it. Starting a process takes half a second, so the next one is always started ahead.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

import timestore_assets
from timestore_assets.model import errors
from timestore_assets.model.errors import TimeLimitError, TimestoreError, UnavailableError
from timestore_assets.querying.room import Job

SCHEMA, BATCH, ERROR, END = b"S", b"B", b"E", b"Z"
_MODULE = "timestore_assets.querying.apart_worker"
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")
"""What of the environment a worker gets: settings and their secrets are none of its business."""


class Worker:
    """A process that computes one job. It ends by itself when this one does."""

    def __init__(self) -> None:
        package = str(Path(timestore_assets.__file__).parent.parent)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": package}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout  # noqa: S101 - as asked for above
        self._to = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._from = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, job: Job) -> None:
        self._to.send_bytes(pickle.dumps(job))

    def receive(self) -> tuple[bytes, memoryview]:
        """Kind and content of the next message; EOFError when the process has ended."""
        found = memoryview(self._from.recv_bytes())
        return bytes(found[:1]), found[1:]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        self._to.close()
        self._from.close()


class Workers:
    """Gives each job a process of its own. Thread-safe. `spare`: how many wait for a job, once there was one."""

    def __init__(self, *, spare: int = 1) -> None:
        self._spare = spare
        self._waiting: list[Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    def room(self, job: Job) -> Apart:
        """Where the job is computed."""
        with self._lock:
            worker = self._waiting.pop() if self._waiting else None
        if worker is not None and not worker.alive:
            worker.close()
            worker = None
        worker = worker or Worker()
        with self._lock:
            if not self._closed and len(self._waiting) < self._spare:
                self._waiting.append(Worker())
        return Apart(job, worker)

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            self._closed, waiting, self._waiting = True, self._waiting, []
        for worker in waiting:
            worker.close()


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
