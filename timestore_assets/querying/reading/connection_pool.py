"""DuckDB connections that wait for the next question, with the segment files they have open."""

from __future__ import annotations

import resource
import threading
import weakref
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import duckdb

from timestore_assets.segments.engine import EngineLimits, connect

_IDLE = 2
"""How many connections wait: each may hold its memory limit in cached blocks."""
_SPARE_FILES = 256


@dataclass(slots=True, eq=False)
class Pooled:
    """A connection with what its last question left open, since who asks about a range often asks again."""

    con: duckdb.DuckDBPyConnection
    #: What keeps the `.duckdb` files `files` attached; attaching costs half a millisecond a file.
    held: ExitStack = field(default_factory=ExitStack)
    files: frozenset[str] = frozenset()
    #: It is of no use any more.
    is_broken: bool = False

    def hold(self, stack: ExitStack, files: frozenset[str]) -> None:
        """Keep these files open instead of those before; files that are in both stay attached throughout."""
        before, self.held, self.files = self.held, stack, files
        before.close()

    def close(self) -> None:
        self.held.close()
        self.con.close()


class Pool:
    """Makes connections within the limits and re-uses them, one question at a time each. Thread-safe."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._idle: list[Pooled] = []
        self._lock = threading.Lock()
        self._closed = False
        # also for those who never close: files must be let go before the interpreter takes its modules apart
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Pooled:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Pooled(con=connect(self._limits))

    def give(self, pooled: Pooled) -> None:
        """Take back a connection without an open result."""
        if pooled.is_broken:
            with suppress(duckdb.Error):
                pooled.close()
            return
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE:
                self._idle.append(pooled)
                return
        pooled.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._finalizer()


def _close_all(idle: list[Pooled]) -> None:
    while idle:
        idle.pop().close()


def allow_open_files(number: int) -> None:
    """Raise this process's soft limit of open files, as far as the hard one lets it, when so many are about to be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
