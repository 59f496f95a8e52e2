"""Rooms that wait for the next statement over the same rows: making one costs many times what a small statement does.

Kept are a few, as long as they are used and as long as all of them together hold no more memory than one statement may use.
Connections that are going to be rooms are made ahead, in a thread, once the first has been needed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import duckdb

from timestore_assets.querying.sql.readings import Readings
from timestore_assets.querying.sql.room import Room, View, blank
from timestore_assets.querying.time_limit import later
from timestore_assets.segments.engine import EngineLimits

MOST = 8
"""Rooms that wait."""
MOST_STATEMENTS = 1_000
"""So many were in a room at most: whatever a DuckDB gathers in its life has an end."""
IDLE_SECONDS = 60.0
"""After so long without a statement rooms let go of their files and their memory."""
_MAKING_SECONDS = 10.0
"""How long closing waits for a connection that is being made: an interpreter that ends meanwhile is aborted."""


@dataclass(slots=True)
class _Waiting:
    """What waits, the newest last; shared with the finalizer, which must not know of the `Rooms`."""

    rooms: list[tuple[Room, int]] = field(default_factory=list)
    blanks: list[duckdb.DuckDBPyConnection] = field(default_factory=list)
    making: threading.Thread | None = None

    def close(self) -> None:
        self.wait()
        while self.rooms:
            self.rooms.pop()[0].close()
        while self.blanks:
            self.blanks.pop().close()

    def wait(self) -> None:
        """Until nothing is being made any more, if it takes no longer than it should."""
        making = self.making
        if making is not None and making is not threading.current_thread():
            making.join(timeout=_MAKING_SECONDS)


class Rooms:
    """Gives a room to one statement at a time. Thread-safe. `most`: rooms that are kept; with 0 none, and no thread begins.

    Attributes: `readings`, of texts that were asked here.
    """

    def __init__(self, limits: EngineLimits, *, most: int = MOST, most_bytes: int | None = None) -> None:
        """`most_bytes`: what all that wait hold of the memory at most; as much as one statement may use by default."""
        self._limits, self._most = limits, most
        self._most_bytes = limits.memory_bytes if most_bytes is None else most_bytes
        self.readings = Readings()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting, self._lock = _Waiting(), threading.Lock()
        self._closed = self._making = self._tidying = False
        self._used = 0
        # also for those who never close: files must be let go before the interpreter takes its modules apart
        self._finalizer = weakref.finalize(self, self._waiting.close)

    @contextmanager
    def blank(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees nothing, to parse in; what failed is not used again."""
        self._require_own()
        con = self._take_blank()
        try:
            yield con
        except BaseException:
            con.close()
            raise
        with self._lock:
            # without rooms that are kept it becomes the room of the same statement
            if not self._closed and not self._waiting.blanks:
                self._waiting.blanks.append(con)
                return
        con.close()

    def _require_own(self) -> None:
        """After a fork begin anew: a DuckDB of the parent has no threads here, so that even closing it could wait for ever."""
        if self._process != os.getpid():
            self._finalizer.detach()
            self._inherited = self._waiting
            self._begin()

    def take(self, key: object, views: Sequence[View], began: Callable[[duckdb.DuckDBPyConnection], None]) -> Room:
        """The room of that key, or a new one with these views. `began`: is given what works at it. Errors as `Room`'s."""
        self._require_own()
        with self._lock:
            self._used += 1
            rooms = self._waiting.rooms
            for place in range(len(rooms) - 1, -1, -1):
                if rooms[place][0].key == key:
                    return rooms.pop(place)[0]
        con = self._take_blank()
        try:
            began(con)
        except BaseException:
            con.close()
            raise
        room = Room(con, views, key=key)
        self._make_ahead()
        return room

    def give(self, room: Room) -> None:
        """Take back a room in which a statement has ended well."""
        if self._most == 0 or room.statements >= MOST_STATEMENTS:
            room.close()
            return
        held = room.bytes_held()
        with self._lock:
            rooms = self._waiting.rooms
            rooms.append((room, held))
            gone = []
            while rooms and (self._closed or len(rooms) > self._most or self._bytes() > self._most_bytes):
                gone.append(rooms.pop(0)[0])
        for one in gone:
            one.close()
        self._tidy_later()

    def close(self) -> None:
        """Close those that wait; those with a statement in them close with it."""
        self._require_own()
        with self._lock:
            self._closed = True
        self._waiting.wait()  # without the lock, which whoever makes a connection takes at its end
        with self._lock:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _bytes(self) -> int:
        return sum(held for _, held in self._waiting.rooms)

    def _take_blank(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._waiting.blanks:
                return self._waiting.blanks.pop()
        return blank(self._limits)

    def _make_ahead(self) -> None:
        """Have a blank made, for the next statement that needs a room."""
        with self._lock:
            if self._most == 0 or self._closed or self._making or self._waiting.blanks:
                return
            self._making = True
            self._waiting.making = threading.Thread(target=self._make, name="sql-rooms", daemon=True)
            self._waiting.making.start()

    def _make(self) -> None:
        made: duckdb.DuckDBPyConnection | None = None
        try:
            made = blank(self._limits)
        finally:
            with self._lock:
                self._making = False
                if made is not None and not self._closed and not self._waiting.blanks:
                    self._waiting.blanks.append(made)
                    made = None
        if made is not None:
            made.close()

    def _tidy_later(self) -> None:
        with self._lock:
            if self._tidying or self._closed:
                return
            self._tidying, used = True, self._used
        me = weakref.ref(self)

        def tidy() -> None:
            rooms = me()
            if rooms is not None:
                threading.Thread(target=rooms._tidy, args=(used,), name="sql-rooms", daemon=True).start()

        later(IDLE_SECONDS, tidy)

    def _tidy(self, used: int) -> None:
        """Close all rooms when no statement came since `used`, else look again later."""
        with self._lock:
            self._tidying = False
            gone = []
            if self._used == used:
                gone, self._waiting.rooms[:] = [room for room, _ in self._waiting.rooms], []
        for room in gone:
            room.close()
        if self._used != used:
            self._tidy_later()
