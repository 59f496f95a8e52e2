"""Poison: input that makes what judges it fail. Here alone it is decided whether an error is the input's or the machine's.

Which rows of a batch are poison is found by halves, so that one odd record costs its neighbours nothing but time.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from timestore_assets.decoding.rejections import Rows
from timestore_assets.model.errors import BadFileError, TimestoreError
from timestore_assets.sources.batches import Batch, ManyRawRows, RawRows

LOG = logging.getLogger(__name__)

_OF_MACHINE = (TimestoreError, MemoryError, ConnectionError, TimeoutError, CancelledError)
_OF_ENGINE = (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InterruptException)
_MACHINE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
    | {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESTALE, errno.ENODEV, errno.ENXIO}
)
_MACHINE_PACKAGES = frozenset({"sqlalchemy", "sqlite3", "psycopg", "psycopg2", "obstore", "confluent_kafka", "cimpl"})
"""Whose errors are about the catalog, the object store or the brokers, never about a record."""
_INTERRUPTED = "Query interrupted"
"""All that DuckDB says, as a RuntimeError, when a signal's handler raises inside a query: its own exception is lost."""
_MACHINE_TEXTS = ("can't start new thread", "cannot schedule new futures", "no space left", "disk quota exceeded")

_MOST_KNOWN = 1_000
_known: set[tuple[str, str, int]] = set()
_lock = threading.Lock()


def is_poison(error: BaseException) -> bool:
    """Whether an error that was raised while input was judged belongs to that input.

    Errors of this project are not asked about here: `BadFileError` says so itself, the others are about catalog, store or disk.
    Nor do interruptions, a full disk, a lack of memory, and what catalog, object stores and brokers raise belong to it.
    Everything else does, whatever DuckDB, Arrow, polars or Python call it.
    """
    if not isinstance(error, Exception) or isinstance(error, (*_OF_MACHINE, *_OF_ENGINE)):
        return False
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRNOS:
        return False
    if type(error) is RuntimeError and str(error) == _INTERRUPTED:
        return False
    if any(kind.__module__.partition(".")[0] in _MACHINE_PACKAGES for kind in type(error).__mro__):
        return False
    text = str(error).lower()
    return not any(known in text for known in _MACHINE_TEXTS)


def cause(error: BaseException) -> str:
    """The class of an error and the first line of its text, short and printable, as reasons quote it."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = line.encode("utf-8", "backslashreplace").decode()
    shown = "".join(char if char.isprintable() else " " for char in line)[:200].rstrip(". ")
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def bad_content(what: str, error: BaseException) -> BadFileError:
    """The reason for which a file, or all records of a request, can't be taken. `what`: names it."""
    return BadFileError("unexpected_content", f"{what} holds what can't be read ({cause(error)})")


def log_poison(what: str, error: BaseException) -> None:
    """Say in the log that input was refused for an error that nothing expected: with its traceback the first time.

    `what`: names the input. The same error from the same line is later told in one line.
    """
    key = (type(error).__name__, *_raised_at(error.__traceback__))
    with _lock:
        is_new = key not in _known and len(_known) < _MOST_KNOWN
        if is_new:
            _known.add(key)
    LOG.warning("refused %s: %s", what, cause(error), exc_info=error if is_new else None)


def _raised_at(traceback: TracebackType | None) -> tuple[str, int]:
    place = ("", 0)
    while traceback is not None:
        place = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return place


UNDECODABLE = "undecodable"
_MOST_TRIALS = 4_000


def poisoned(rows: Rows, judge: Callable[[Rows], object], error: Exception) -> dict[int, str]:
    """The rows for which judging fails, each with the reason.

    `judge`: judges some of the rows by themselves. `error`: what judging all of them raised. After very many trials those that
    are still together with a bad one are refused with it.

    Raises:
        Exception: judging fails even without any row, or only for all of them together, so that none can be at fault.
    """
    if _failure(judge, rows[:0]) is not None:
        raise error
    found: dict[int, str] = {}
    waiting, trials = deque([(rows, error)] if len(rows) else []), 0
    while waiting:
        some, failure = waiting.popleft()
        if len(some) == 1 or trials >= _MOST_TRIALS:
            found.update(dict.fromkeys(some.tolist(), _reason(failure, len(some))))
            continue
        halves = np.array_split(some, 2)
        failures = [_failure(judge, half) for half in halves]
        trials += len(halves)
        waiting.extend((half, one) for half, one in zip(halves, failures, strict=True) if one is not None)
        if not any(failures) and (again := _failure(judge, some)) is not None:
            raise again  # it is no row of them, but all of them together
    return found


def _failure(judge: Callable[[Rows], object], rows: Rows) -> Exception | None:
    try:
        judge(rows)
    except Exception as error:
        if not is_poison(error):
            raise
        return error
    return None


def _reason(error: Exception, rows: int) -> str:
    if rows == 1:
        return f"the record can't be judged ({cause(error)})"
    return f"one of the {rows} records it was read with can't be judged ({cause(error)})"


def part_of(batch: Batch, rows: Rows) -> Batch:
    """Some rows of a batch as one; what the source refused is not among them."""
    at = pa.array(rows, pa.int64())
    envelope = batch.envelope
    return replace(
        batch,
        records=_taken(batch.records, rows),
        positions=batch.positions.take(at),
        lines=None if batch.lines is None or not len(batch.lines) else batch.lines.take(at),
        source_partitions=None if batch.source_partitions is None else batch.source_partitions.take(at),
        bad=(),
        raw=_PartRows(batch.raw, rows),
        envelope=None if envelope is None else lambda row: envelope(int(rows[row])),
    )


def _taken(table: pa.Table, rows: Rows) -> pa.Table:
    if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        return table.slice(int(rows[0]), len(rows))
    # runs of rows instead of a copy: a copy of many long texts may exceed what one array holds
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    runs = [table.slice(int(run[0]), len(run)) for run in np.split(rows, starts[1:]) if len(run)]
    return pa.concat_tables(runs) if runs else table.slice(0, 0)


class _PartRows:
    """See `batches.ManyRawRows`."""

    def __init__(self, raw: RawRows, rows: Rows) -> None:
        self._raw, self._rows = raw, rows

    def __call__(self, index: int) -> bytes | None:
        return self._raw(int(self._rows[index]))

    def many(self, indices: Any) -> list[bytes | None]:
        own = [int(self._rows[index]) for index in indices]
        return list(self._raw.many(own)) if isinstance(self._raw, ManyRawRows) else [self._raw(row) for row in own]
