"""The room that SQL handed in by people runs in: a connection that sees views of datasets and can reach nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from timestore_assets.model.types import literal, quote
from timestore_assets.querying.clock import Stopper
from timestore_assets.querying.names import unique
from timestore_assets.querying.plan import Step
from timestore_assets.querying.rows import Pinned, rows_of
from timestore_assets.storage.engine import EngineLimits, connect

BATCH_ROWS = 16_384
_AS_TEXT = ("INTERVAL", "BIT", "UNION", "ENUM", "TIME WITH TIME ZONE")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A dataset at a version, under the name that SQL knows it by. `step`: the segments that are read."""

    name: str
    step: Step
    pinned: Pinned


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A checked SELECT with the views that it reads, and the values of what it writes as `$name`. It can be pickled."""

    text: str
    parameters: Mapping[str, Any]
    views: tuple[View, ...]
    limits: EngineLimits


class Room(Protocol):
    """Where a job is computed, once. `interrupt` is for other threads, everything else for one at a time."""

    def open(self) -> pa.Schema:
        """Open the views, begin to compute, and give the schema of the rows, in which names may be there several times.

        Raises:
            duckdb.Error, TimestoreError: it can't be computed; a DuckDB message still holds what nobody should see.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows under that schema; errors as `open`."""

    def interrupt(self) -> None:
        """Stop computing; the other methods raise then."""

    def close(self) -> None: ...


class Here:
    """A room in this process. Single values can outgrow its memory limit: for people one does not know, see `apart`."""

    def __init__(self, job: Job) -> None:
        self._job, self._stack = job, ExitStack()
        self._con = connect(job.limits)
        self._stack.callback(self._con.close)
        self._stopper = Stopper(self._con.interrupt)
        self._stack.callback(self._stopper.let_go)
        self._reader: pa.RecordBatchReader | None = None

    def open(self) -> pa.Schema:
        """See `Room`."""
        job = self._job
        paths: list[str] = []
        for view in job.views:
            files = self._stack.enter_context(view.pinned.storage.reading(view.step.segments))
            paths += map(str, files)
            rows = self._stack.enter_context(rows_of(self._con, view.step, view.pinned, needed=view.pinned.schema.names))
            self._con.execute(f"CREATE TEMP VIEW {quote(view.name)} AS SELECT * FROM {rows}").fetchall()
        lock(self._con, paths)
        found = _portable(self._con.sql(job.text, params=dict(job.parameters) or None))
        self._reader = found.to_arrow_reader(BATCH_ROWS)
        self._stack.callback(self._reader.close)
        return self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Room`."""
        yield from self._reader or ()

    def interrupt(self) -> None:
        """See `Room`."""
        self._stopper.interrupt()

    def close(self) -> None:
        """See `Room`."""
        self._stack.close()


def lock(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """From here on the connection reads these files and the attached ones, and its settings can't be changed."""
    con.execute(f"SET allowed_paths = [{', '.join(literal(path) for path in unique(paths))}]").fetchall()
    for setting in ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true"):
        con.execute(f"SET {setting}").fetchall()


def _portable(result: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The result with types that Parquet, Polars and others don't know as text."""
    if not any(str(kind).startswith(_AS_TEXT) for kind in result.types):
        return result
    columns = enumerate(zip(result.columns, result.types, strict=True), start=1)
    parts = (f"#{i}::VARCHAR AS {quote(name)}" if str(kind).startswith(_AS_TEXT) else f"#{i}" for i, (name, kind) in columns)
    return result.project(", ".join(parts))
