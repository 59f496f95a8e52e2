"""The process that computes one SELECT for `apart`: it reads a job from its input, and writes Arrow to its output."""

from __future__ import annotations

import os
import pickle
import resource
from contextlib import closing, suppress
from multiprocessing.connection import Connection

from timestore_assets.model.errors import TimestoreError, UnavailableError
from timestore_assets.querying.apart import BATCH, END, ERROR, SCHEMA, error_message
from timestore_assets.querying.failures import explained
from timestore_assets.querying.room import Here, Job

HEADROOM_BYTES = 1_000_000_000
"""What a process may take beyond DuckDB's limit: Python and libraries, and values on their way through an expression."""


def main() -> None:
    """Compute the job that comes; end quietly when none does or when nobody takes the answer."""
    with suppress(EOFError, BrokenPipeError), Connection(0, writable=False) as jobs, Connection(1, readable=False) as out:
        job: Job = pickle.loads(jobs.recv_bytes())  # noqa: S301 - from the process that started this one
        _limit(job.limits.memory_bytes + HEADROOM_BYTES)
        try:
            _compute(job, out)
        except TimestoreError as error:
            out.send_bytes(ERROR + error_message(error))
        except MemoryError:
            said = "the memory limit is too small for running the SQL; narrow the range or raise TIMESTORE_MEMORY"
            out.send_bytes(ERROR + error_message(UnavailableError(said)))


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _compute(job: Job, out: Connection) -> None:
    with closing(Here(job)) as room, explained("running the SQL"):
        out.send_bytes(SCHEMA + room.open().serialize().to_pybytes())
        for batch in room.batches():
            out.send_bytes(BATCH + batch.serialize().to_pybytes())
    out.send_bytes(END)


if __name__ == "__main__":
    # from here on nothing but the answer may reach the output
    main()
    os._exit(0)
