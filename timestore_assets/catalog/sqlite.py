"""SQLite as the catalog: one file in WAL mode, shared by threads and processes of one machine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from timestore_assets.model.errors import InputError, UnavailableError

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
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"the catalog's folder {folder} can't be made: {error.strerror}") from error
    engine = create_engine(url, connect_args={"timeout": patience}, pool_size=8, max_overflow=64, hide_parameters=True)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def use_wal(connection: Connection) -> None:
    """Switch the file to WAL, which it remembers; outside any transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("not a SQLite connection")
    if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        driver.execute("PRAGMA journal_mode=WAL").fetchone()


def _prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # the driver's own transaction handling reads outside transactions and begins them deferred, which loses updates
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
