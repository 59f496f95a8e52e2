"""The processes behind `sql_worker`: one that forks, and one for each job, which reads a pipe and writes Arrow to another."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import socket
import traceback
from collections.abc import Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa

from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError
from timestore_assets.querying.reading.query_errors import explained
from timestore_assets.querying.sql.rooms import Rooms
from timestore_assets.querying.sql.runner import InProcess, SqlJob
from timestore_assets.querying.sql.sql_worker import (
    BATCH,
    END,
    ERROR,
    FORK,
    MAX_MESSAGE_BYTES,
    READING,
    READING_IT,
    RUNNING_IT,
    SCHEMA,
    STAYS,
    Order,
    error_message,
    out_of_memory,
)

PIECE_BYTES = 32_000_000
"""A batch with more bytes is handed over in parts."""
HEADROOM_BYTES = 1_000_000_000
"""What a process may take beyond DuckDB's limit: Python and libraries, and values on their way through an expression."""
_ROOMS, _ROOMS_THREADS = 3, 48
"""Rooms that a process keeps, and threads of DuckDB in all of them: each has address space of its own."""
_ROOM_BYTES, _THREAD_BYTES = 70_000_000, 9_000_000
"""Data of a DuckDB, and of each of its threads, as the kernel counts it; little of it is ever touched."""
_KEPT_BYTES = 200_000_000
"""What rooms that wait hold of rows, and what else a process may have taken after a statement and go on."""
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
            socket.send_fds(orders, [FORK], [handle])
            for one in (handle, *pipes):
                os.close(one)


def _bury() -> None:
    """Let the kernel forget workers that have ended. Only here: before its pidfd is there a worker must not be forgotten."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _work(jobs_end: int, answers_end: int) -> None:
    """Read the text that comes and compute its job, and then those that come after it, until one fails or this has grown.

    It ends quietly when no job comes or when nobody takes the answer.
    """
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    with suppress(EOFError, BrokenPipeError), Connection(jobs_end) as jobs, Connection(answers_end) as answers:
        order: Order = pickle.loads(jobs.recv_bytes())  # noqa: S301 - from the process that started this one
        # what cuts an answer off is said by the kernel, before anything that came from outside is looked at
        limits, most = order.limits, max(1, min(_ROOMS, _ROOMS_THREADS // order.limits.threads))
        kept = (most + 1) * (_ROOM_BYTES + limits.threads * _THREAD_BYTES)
        _limit(limits.memory_bytes + HEADROOM_BYTES + kept)
        most_after = _data_bytes() + kept + _KEPT_BYTES
        with Rooms(limits, most=most, most_bytes=_KEPT_BYTES) as rooms:
            while _serve(order, rooms, jobs, answers):
                stays = _data_bytes() <= most_after
                answers.send_bytes(END + (STAYS if stays else b""))
                if not stays:
                    return
                order = pickle.loads(jobs.recv_bytes())  # noqa: S301 - as above


def _serve(order: Order, rooms: Rooms, jobs: Connection, answers: Connection) -> bool:
    """Answer one statement, but for the last word; False when it failed, so that nothing else is to run in this process."""
    doing = READING_IT
    try:
        with closing(InProcess(order.limits, rooms)) as room:
            if order.asked is not None:
                answers.send_bytes(READING + room.read(order.asked).to_json())
            job: SqlJob = pickle.loads(jobs.recv_bytes())  # noqa: S301 - from the process that started this one
            doing = RUNNING_IT
            _compute(room, job, answers)
    except TimestoreError as error:
        answers.send_bytes(ERROR + error_message(error))
    except MemoryError:
        answers.send_bytes(ERROR + error_message(out_of_memory(doing)))
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # belongs to this statement, whatever it is
        said = UnavailableError(f"{doing} failed in a way that nobody foresaw ({type(error).__name__}); the log tells more")
        answers.send_bytes(ERROR + error_message(said, traceback.format_exc()))
    else:
        return True
    return False


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_bytes() -> int:
    """What this process has of that which is limited."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _compute(room: InProcess, job: SqlJob, answers: Connection) -> None:
    with explained(RUNNING_IT):
        answers.send_bytes(SCHEMA + room.open(job).serialize().to_pybytes())
        for batch in room.batches():
            for piece in _pieces(batch):
                answers.send_bytes(BATCH + piece.serialize().to_pybytes())


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in parts that the other process, which has many to receive, takes in one by one.

    Raises:
        InputError: a single row is more than that process takes.
    """
    size = batch.nbytes
    if size <= PIECE_BYTES:
        yield batch
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    elif size > MAX_MESSAGE_BYTES // 2:
        raise InputError(f"SQL: a row of the answer has {size:,} bytes; at most {MAX_MESSAGE_BYTES // 2:,} are possible")
    else:
        yield batch


if __name__ == "__main__":
    main()
