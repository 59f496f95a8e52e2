"""SQLite as the catalog: one file in WAL mode, shared by threads and processes of one machine.

On a disk that is full or mounted read-only it is still read. A file in WAL mode asks for a shared index beside it, even to be
read. Where that is not there and can't be made, the file is opened as one that nobody changes, without locks. That is right as
long as it is true, so such a connection is used for one transaction, which fails when the file has changed by its end.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from timestore_assets.file_access import make_file, make_folder
from timestore_assets.model.errors import InputError, UnavailableError

_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL}
_WAL_FORMAT = b"\x02\x02"
"""At byte 18 of a file in WAL mode."""


class Snapshot(sqlite3.Connection):
    """A connection without locks on a file that was not being changed when it was opened."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__(f"file:{quote(str(path.absolute()))}?immutable=1", uri=True, timeout=timeout, check_same_thread=False)
        self.path, self.stamp, self.used = path, _stamp(path), False

    def require_unchanged(self) -> None:
        """UnavailableError when somebody has written to the file since, so that what was read may be torn."""
        if _stamp(self.path) != self.stamp:
            raise UnavailableError(f"catalog {self.path} changed while it was read without locks; ask again")


def opened(connect: Any, path: Path, *, timeout: float) -> sqlite3.Connection:
    """The connection that `connect` makes, if it can read; else one without locks, if that is safe.

    Raises:
        UnavailableError: the file holds changes in its write-ahead log that can't be read there.
        sqlite3.Error: it can't be read at all.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = connect()
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        return connection
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _UNWRITABLE or not _is_wal(path):
            raise
        if _size(_wal_of(path)):
            raise UnavailableError(
                f"catalog {path} has changes in {_wal_of(path).name} that can't be read where nothing can be written; "
                "copy the catalog's files to a writable folder, or free some space"
            ) from error
    return Snapshot(path, timeout=timeout)


def _is_wal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == _WAL_FORMAT
    except OSError:
        return False


def _wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _stamp(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size, _size(_wal_of(path))


WRITES = "timestore_writes"
"""Execution option of connections whose transactions write."""


def sqlite_engine(url: URL, *, patience: float) -> Engine:
    """An engine on a SQLite file; `patience`: seconds to wait for another process's write to end.

    Raises:
        InputError: the URL names no file.
        UnavailableError: the file's folder can't be made.
    """
    if not url.database or url.database == ":memory:":
        raise InputError("the catalog needs a file that several processes can open: write sqlite:////path/to/catalog.db")
    folder = Path(url.database).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise UnavailableError(f"the catalog's folder {folder} can't be made: {error.strerror}") from error
    engine = create_engine(url, connect_args={"timeout": patience}, pool_size=8, max_overflow=64, hide_parameters=True)
    if not url.database.startswith("file:"):
        event.listen(engine, "do_connect", _make)
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkout", _use_once)
    event.listen(engine, "commit", _require_unchanged)
    event.listen(engine, "begin", _begin)
    return engine


def file_of(url: URL) -> Path | None:
    """The file that a URL names; None for one in SQLite's own notation of URIs."""
    return None if not url.database or url.database.startswith("file:") else Path(url.database)


def use_wal(connection: Connection) -> None:
    """Switch the file to WAL, which it remembers; outside any transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("not a SQLite connection")
    if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        driver.execute("PRAGMA journal_mode=WAL").fetchone()


def _make(_dialect: Dialect, _entry: ConnectionPoolEntry, args: list[Any], _how: dict[str, Any]) -> None:
    # SQLite gives the log and the shared memory beside it the mode of the file itself
    with suppress(OSError):
        make_file(Path(args[0]))


def _connect(dialect: Dialect, _entry: ConnectionPoolEntry, args: list[Any], how: dict[str, Any]) -> sqlite3.Connection:
    connect = partial(dialect.connect, *args, **how)
    return opened(connect, Path(args[0]), timeout=how["timeout"])


def _use_once(connection: sqlite3.Connection, _entry: ConnectionPoolEntry, _fairy: object) -> None:
    # the next transaction tries again whether the disk takes writes by now
    if isinstance(connection, Snapshot):
        if connection.used:
            raise DisconnectionError("it was for one transaction")
        connection.used = True


def _require_unchanged(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    if isinstance(driver, Snapshot):
        driver.require_unchanged()


def bring_into_file(connection: Connection) -> None:
    """Write what is committed from the log into the file itself, durable when this returns; outside any transaction."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.execute("PRAGMA wal_checkpoint(FULL)").fetchone()


def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # the driver's own transaction handling reads outside transactions and begins them deferred, which loses updates
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
