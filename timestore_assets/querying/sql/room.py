"""A room: a DuckDB in which a statement sees some views and can reach nothing else, and which the next one finds as it was.

Each statement has a cursor of its own, in a transaction that may only read: what it would set, prepare or make for itself goes
with the cursor, and the views, which all cursors see, can't be changed. Both hold without the check of the text (`check`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import duckdb

from timestore_assets.model.types import literal, quote
from timestore_assets.querying.planning.column_names_in_sql import unique
from timestore_assets.querying.planning.query_plan import Step
from timestore_assets.querying.reading.rows import Pinned, rows_of
from timestore_assets.segments.engine import EngineLimits, connect, one_row

_SMALL_SECONDS, _ASKED_EVERY = 0.02, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A dataset at a version, under the name that SQL knows it by. `step`: the segments that are read."""

    name: str
    step: Step
    pinned: Pinned
    #: Of files that may be there in part only, the columns that are; None where all of them are.
    fetched: frozenset[str] | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """What its rows and columns are made of: two views with equal contents show the same."""
        pinned = self.pinned
        dataset = pinned.dataset
        # a DuckDB remembers what it has read of a file, holes and all
        files = pinned.storage, self.fetched
        return self.name, self.step, files, pinned.schema, pinned.retracted, dataset.dedupe, dataset.time


def blank(limits: EngineLimits) -> duckdb.DuckDBPyConnection:
    """A connection that is going to be a room's: settings that are to hold for all of its cursors can be changed only now."""
    con = connect(limits)
    con.execute("SET GLOBAL TimeZone='UTC'").fetchall()
    return con


class Room:
    """One statement at a time is in it. `key`: what tells one room from another. `statements`: how many were in it."""

    def __init__(self, con: duckdb.DuckDBPyConnection, views: Sequence[View], *, key: object) -> None:
        """Make one of a blank connection, which is the room's from now on, also when this raises; errors as `rows_of`."""
        self.key, self.statements = key, 0
        self._began, self._bytes = time.monotonic(), 0
        self._con, self._stack = con, ExitStack()
        self._stack.callback(con.close)
        try:
            paths: list[str] = []
            for view in views:
                paths += map(str, self._stack.enter_context(view.pinned.storage.reading(view.step.segments)))
                names = view.pinned.schema.names
                rows = self._stack.enter_context(rows_of(con, view.step, view.pinned, needed=names, for_cursors=True))
                con.execute(f"CREATE VIEW {quote(view.name)} AS SELECT * FROM {rows}").fetchall()
            lock(con, paths)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def statement(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one statement."""
        self.statements, self._began = self.statements + 1, time.monotonic()
        with self._con.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor

    def bytes_held(self) -> int:
        """What it takes of the memory, while no statement is in it; small ones change it little, and asking takes 1 ms."""
        if self.statements % _ASKED_EVERY <= 1 or time.monotonic() - self._began > _SMALL_SECONDS:
            found = one_row(self._con, "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT FROM duckdb_memory()")
            self._bytes = int(found[0])
        return self._bytes

    def close(self) -> None:
        # one that has given up its database can't even let go of its files
        with suppress(duckdb.Error):
            self._stack.close()


def lock(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """From here on the connection reads these files and the attached ones, and its settings can't be changed."""
    con.execute(f"SET allowed_paths = [{', '.join(literal(path) for path in unique(paths))}]").fetchall()
    for setting in ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true"):
        con.execute(f"SET {setting}").fetchall()
