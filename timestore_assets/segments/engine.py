"""DuckDB connections with limits. Every query of this project runs in one made here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb

from timestore_assets.model.errors import BadFileError, UnavailableError
from timestore_assets.storage.disk_errors import not_spilled

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

T = TypeVar("T")

GIVEN_UP = (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException)
"""After these a database answers nothing any more, whatever it is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLimits:
    """What one connection may use. `temp_dir`: folder into which DuckDB spills what exceeds `memory_bytes`."""

    memory_bytes: int
    threads: int
    temp_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings; spilled data goes below TIMESTORE_HOME."""
        return cls(
            memory_bytes=settings.memory, threads=settings.threads or usable_cores(), temp_dir=settings.home_folder / "spill"
        )


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's where it is bound to some, as containers are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def connect(limits: EngineLimits) -> duckdb.DuckDBPyConnection:
    """A new in-memory DuckDB with these limits, in UTC, that neither installs nor loads extensions by itself.

    The connection belongs to one thread at a time; the caller closes it.
    """
    con = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limits.memory_bytes}B",
            "threads": limits.threads,
            "temp_directory": str(limits.temp_dir),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    # TimeZone belongs to the ICU extension, which is there only once the connection is
    con.execute("SET TimeZone='UTC'")
    return con


class Engine:
    """A connection as of `connect`, made anew once DuckDB has given up its database, as it does after an internal error.

    It belongs to one thread at a time, but for `beside`. `setup`: statements that each new connection begins with.
    """

    def __init__(self, limits: EngineLimits, *, setup: Sequence[str] = ()) -> None:
        self._limits, self._setup = limits, setup
        self._con = self._connected()

    def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Do work on the connection, once more on a new one when its database had been given up before; errors as the work's."""
        try:
            return work(self._con)
        except GIVEN_UP as error:
            self._con.close()
            self._con = self._connected()
            if isinstance(error, duckdb.InternalException):
                raise  # it is this work that breaks databases
        return work(self._con)

    def beside(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The same from another thread, while the connection may be at work on something else."""
        try:
            with self._con.cursor() as con:
                return work(con)
        except GIVEN_UP as error:
            if isinstance(error, duckdb.InternalException):
                raise
        with closing(self._connected()) as con:
            return work(con)

    def close(self) -> None:
        self._con.close()

    def _connected(self) -> duckdb.DuckDBPyConnection:
        con = connect(self._limits)
        for statement in self._setup:
            con.execute(statement)
        return con


def one_row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """Run a query that gives exactly one row, and return it."""
    [row] = con.execute(query).fetchall()
    return tuple(row)


def threads_of(con: duckdb.DuckDBPyConnection) -> int:
    """How many threads a connection may use."""
    return int(one_row(con, "SELECT current_setting('threads')")[0])


@contextmanager
def one_thread(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let a connection use one thread, for what did not fit the memory with more: each of them holds rows of its own."""
    threads = threads_of(con)
    con.execute("SET threads=1")
    try:
        yield
    finally:
        con.execute(f"SET threads={threads}")


@contextmanager
def disk_failures(doing: str, folder: Path) -> Iterator[None]:
    """Turn what DuckDB says about a full disk, a lack of rights or of memory into errors of this project.

    `doing`: what was under way, as it reads after "while" (`writing segments`); `folder`: where.

    Raises:
        StorageFullError, UnavailableError, BadFileError: in place of DuckDB's own.
    """
    try:
        yield
    except duckdb.Error as error:
        found = not_spilled(folder, doing, str(error))
        if found is None and isinstance(error, duckdb.OutOfMemoryException):
            found = UnavailableError(f"the memory limit is too small for {doing}; raise TIMESTORE_MEMORY and run it again")
        if found is None:
            raise
        raise found from error


def unreadable(name: str, error: duckdb.Error) -> UnavailableError | BadFileError:
    """What it means that DuckDB could not open a segment file."""
    text = str(error)
    if "Conflicting lock" in text:
        return UnavailableError(f"segment {name} is open for writing elsewhere; close it there, or open it with -readonly")
    if "does not exist" in text or "No files found" in text or "No such file" in text:
        return UnavailableError(f"segment {name} is missing from the storage; run `timestore verify` to see what else is")
    return BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`")
