"""Where SQL handed in by people runs: in a connection that sees views of datasets and can reach nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from timestore_assets.model.errors import InputError
from timestore_assets.model.types import quote
from timestore_assets.querying.reading.query_errors import explained, plain
from timestore_assets.querying.sql.room import Room, View
from timestore_assets.querying.sql.rooms import Rooms
from timestore_assets.querying.sql.statement_forms import EXPLAIN, PLAN_SCHEMA, plan_rows
from timestore_assets.querying.sql.tables_read import Asked, TablesRead, read_sql
from timestore_assets.querying.time_limit import Cancellable
from timestore_assets.segments.engine import EngineLimits

BATCH_ROWS = 16_384
MAX_COLUMNS = 2_000
MAX_DEPTH = 32
MAX_NAMES = 1_000_000
"""Columns of an answer at most, types within types of one, and characters of all names in its schema."""
_AS_TEXT = ("INTERVAL", "BIT", "UNION", "ENUM", "TIME WITH TIME ZONE")


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlJob:
    """A checked SELECT with the views that it reads, and the values of what it writes as `$name`. It can be pickled."""

    text: str
    parameters: Mapping[str, Any]
    views: tuple[View, ...]
    #: Bound and not computed: there is a schema, and no rows.
    described_only: bool = False
    #: Give the plan instead of rows, as `statement_forms.plan_rows`.
    explain: bool = False
    #: Names of all that whoever asks may read.
    visible: tuple[str, ...] = ()

    @property
    def room_key(self) -> object:
        """What tells the room that it needs from others: callers with other rights never get into the same one."""
        return self.visible, tuple(view.content for view in self.views)


class Executor(Protocol):
    """Where a text is read and its job computed, once. `interrupt` is for other threads, all else for one at a time."""

    def read(self, asked: Asked) -> TablesRead:
        """Parse and check a text. Errors as `read_sql`, and UnavailableError where that takes too much."""

    def open(self, job: SqlJob) -> pa.Schema:
        """Open the views, begin to compute, and give the schema of the rows, in which names may be there several times.

        Raises:
            InputError: the answer would have more columns, or types within types, than anybody takes.
            duckdb.Error, TimestoreError: it can't be computed; a DuckDB message still holds what nobody should see.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows under that schema; errors as `open`."""

    def interrupt(self) -> None:
        """Stop computing; the other methods raise then."""

    def close(self) -> None: ...


class InProcess:
    """An executor in this process. Single values can outgrow its memory limit: for people one does not know, see `sql_worker`.

    `rooms`: where it takes its room from, and where that goes back to once all rows were read and nothing went wrong.
    """

    def __init__(self, limits: EngineLimits, rooms: Rooms | None = None) -> None:
        self._stack = ExitStack()
        self._rooms = rooms or self._stack.enter_context(Rooms(limits, most=0))
        self._stopper = Cancellable(self._stop)
        self._stack.callback(self._stopper.let_go)
        self._at_work: duckdb.DuckDBPyConnection | None = None
        self._stopped = False
        self._room: Room | None = None
        self._reader: pa.RecordBatchReader | None = None
        self._is_done = False

    def read(self, asked: Asked) -> TablesRead:
        """See `Executor`."""
        known = self._rooms.readings.find(asked)
        if known is not None:
            return known
        with explained("reading the SQL"), self._rooms.blank() as con:
            self._begin(con)
            found = read_sql(con, asked)
        self._rooms.readings.keep(asked, found)
        return found

    def open(self, job: SqlJob) -> pa.Schema:
        """See `Executor`."""
        self._room = self._rooms.take(job.room_key, job.views, self._begin)
        self._stack.callback(self._leave)
        con = self._stack.enter_context(self._room.statement())
        self._begin(con)
        self._reader = reader = self._opened(con, job)
        self._stack.callback(reader.close)
        return reader.schema

    def _opened(self, con: duckdb.DuckDBPyConnection, job: SqlJob) -> pa.RecordBatchReader:
        if job.described_only:
            return pa.RecordBatchReader.from_batches(_described(con, job), [])
        if job.explain:
            plans = con.execute(EXPLAIN + job.text, dict(job.parameters) or None).fetchall()
            return pa.RecordBatchReader.from_batches(PLAN_SCHEMA, [plan_rows(document) for _, document in plans])
        found = con.sql(job.text, params=dict(job.parameters) or None)
        refuse_wide(len(found.columns))
        try:
            reader = _portable(found).to_arrow_reader(BATCH_ROWS)
        except pa.ArrowInvalid as error:  # of types only: nothing has been computed yet
            raise InputError(f"SQL: the answer has a type that can't be given to others ({plain(str(error))})") from None
        refuse_deep(reader.schema)
        return reader

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Executor`."""
        yield from self._reader or ()
        self._is_done = True

    def interrupt(self) -> None:
        """See `Executor`."""
        self._stopper.interrupt()

    def close(self) -> None:
        """See `Executor`."""
        self._stopper.let_go()
        self._stack.close()

    def _begin(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a connection be what is stopped; duckdb.InterruptException when that has happened before."""
        self._at_work = con
        if self._stopped:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

    def _stop(self) -> None:
        self._stopped = True
        if self._at_work is not None:
            self._at_work.interrupt()

    def _leave(self) -> None:
        room, self._room = self._room, None
        if room is not None and self._is_done and not self._stopped:
            self._rooms.give(room)
        elif room is not None:
            room.close()


def refuse_wide(columns: int) -> None:
    """InputError when an answer has too many columns."""
    if columns > MAX_COLUMNS:
        raise InputError(f"SQL: the answer would have {columns:,} columns; at most {MAX_COLUMNS:,} are possible")


def refuse_deep(schema: pa.Schema) -> None:
    """InputError when the types of an answer are more than another process, a file or a reader of JSON takes."""
    left = [(field, 0) for field in schema]
    fields = names = 0
    while left:
        field, depth = left.pop()
        fields, names = fields + 1, names + len(field.name)
        if depth > MAX_DEPTH:
            raise InputError(f"SQL: a column of the answer has more than {MAX_DEPTH} types within each other")
        left.extend((field.type.field(i), depth + 1) for i in range(field.type.num_fields))
    refuse_wide(fields)
    if names > MAX_NAMES:
        raise InputError(f"SQL: the names of the answer's columns have more than {MAX_NAMES:,} characters")


def _described(con: duckdb.DuckDBPyConnection, job: SqlJob) -> pa.Schema:
    """The schema that the rows would have. A reader would begin to compute them, and a relation with parameters all of them."""
    columns = con.execute(f"DESCRIBE {job.text}", dict(job.parameters) or None).fetchall()
    refuse_wide(len(columns))
    kinds = ("VARCHAR" if kind.startswith(_AS_TEXT) else kind for _, kind, *_ in columns)
    found = con.sql(f"SELECT {', '.join(f'NULL::{kind}' for kind in kinds)} LIMIT 0").to_arrow_reader(1).schema
    schema = pa.schema([field.with_name(name) for field, (name, *_) in zip(found, columns, strict=True)])
    refuse_deep(schema)
    return schema


def _portable(result: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The result with types that Parquet, Polars and others don't know as text."""
    if not any(str(kind).startswith(_AS_TEXT) for kind in result.types):
        return result
    columns = enumerate(zip(result.columns, result.types, strict=True), start=1)
    parts = (f"#{i}::VARCHAR AS {quote(name)}" if str(kind).startswith(_AS_TEXT) else f"#{i}" for i, (name, kind) in columns)
    return result.project(", ".join(parts))
