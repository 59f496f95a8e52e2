"""The processes behind `apart`: one that forks, and for each job one that reads it from a pipe and writes Arrow to another."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import socket
from contextlib import closing, suppress
from multiprocessing.connection import Connection

from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.querying.apart import BATCH, END, ERROR, SCHEMA, error_message
from timestore_assets.querying.failures import explained
from timestore_assets.querying.room import Here, Job

HEADROOM_BYTES = 1_000_000_000
"""What a process may take beyond DuckDB's limit: Python and libraries, and values on their way through an expression."""
_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h


def main() -> None:
    """Fork a worker for each pair of pipes that comes, until nobody is there to send any."""
    with socket.socket(fileno=0) as orders:
        while True:
            message, pipes, _, _ = socket.recv_fds(orders, 1, 2)
            _bury()
            if not message:
                return
            child = os.fork()
            if child == 0:
                orders.close()
                _work(*pipes)
                os._exit(0)
            handle = os.pidfd_open(child)
            socket.send_fds(orders, [b"w"], [handle])
            for one in (handle, *pipes):
                os.close(one)


def _bury() -> None:
    """Let the kernel forget workers that have ended. Only here: before its pidfd is there a worker must not be forgotten."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _work(jobs_end: int, answers_end: int) -> None:
    """Compute the job that comes; end quietly when none does or when nobody takes the answer."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    with suppress(EOFError, BrokenPipeError), Connection(jobs_end) as jobs, Connection(answers_end) as answers:
        job: Job = pickle.loads(jobs.recv_bytes())  # noqa: S301 - from the process that started this one
        _limit(job.limits.memory_bytes + HEADROOM_BYTES)
        try:
            _compute(job, answers)
        except TimestoreError as error:
            answers.send_bytes(ERROR + error_message(error))
        except MemoryError:
            said = "the memory limit is too small for running the SQL; narrow the range or raise TIMESTORE_MEMORY"
            answers.send_bytes(ERROR + error_message(UnavailableError(said)))


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _compute(job: Job, answers: Connection) -> None:
    with closing(Here(job)) as room, explained("running the SQL"):
        answers.send_bytes(SCHEMA + room.open().serialize().to_pybytes())
        for batch in room.batches():
            answers.send_bytes(BATCH + batch.serialize().to_pybytes())
    answers.send_bytes(END)


if __name__ == "__main__":
    main()
