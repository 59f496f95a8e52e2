"""Bring a catalog database to the newest revision, once, however many processes open it at the same time."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from timestore_assets.catalog.database import PATIENCE_SECONDS, Database
from timestore_assets.catalog.sqlite import use_wal
from timestore_assets.catalog.table_columns import metadata
from timestore_assets.catalog.tables import HEAD
from timestore_assets.model.errors import RefusedError, StorageFullError, UnavailableError, UnwritableError

MIGRATIONS = Path(__file__).parent / "migrations"
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
_ADVISORY_LOCK = 0x74696D6573746F72  # "timestor"


def ensure_current(database: Database) -> None:
    """Make the tables, or run the migrations that are missing; without importing Alembic when there are none.

    Raises:
        RefusedError: the catalog was made by a newer version of this package, or by one of before the first release.
    """
    stamped = database.read(revision)
    if database.is_sqlite:
        _wal(database)
    if stamped != HEAD:
        try:
            database.write(lambda connection: _upgrade(connection, database.schema))
        except (UnwritableError, StorageFullError) as error:
            at = f"is at revision {stamped}" if stamped else "has no tables yet"
            raise UnavailableError(f"the catalog {at} and can't be brought to revision {HEAD}: {error}") from error


def revision(connection: Connection) -> str | None:
    """The revision a database is stamped with; None for a fresh one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _wal(database: Database) -> None:
    """Switch the file to WAL if it is not: a new one, or one restored from a backup, which SQLite writes without it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with database.engine.connect() as connection:
                use_wal(connection)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in _UNWRITABLE:
                return  # whoever opens it next where it can be written does that
            # switching needs the file to itself for a moment, and SQLite does not wait for that by its busy timeout
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise UnavailableError(f"{database.place} can't be switched to WAL: {error}") from error
            time.sleep(0.02)


def _upgrade(connection: Connection, schema: str | None) -> None:
    if schema is not None:
        # rewriting a large table may take longer than any other statement, and so may waiting for whoever does it
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if not inspect(connection).has_schema(schema):
            connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    current = revision(connection)
    if current is None:
        create(connection)
    elif current != HEAD:
        migrate(connection, current)


def create(connection: Connection) -> None:
    """Make in an empty database what all migrations would: importing Alembic takes several times as long as making the tables."""
    metadata.create_all(connection, checkfirst=False)
    key = "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, {key})"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def migrate(connection: Connection, current: str | None) -> None:
    """Run the migrations that a database at this revision lacks, all of them where it has none.

    Raises:
        RefusedError: nobody knows how to get from that revision to the newest.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if current is None:
            raise
        what = "which this version of timestore doesn't know: update timestore"
        if current < HEAD:
            what = f"of before the first release; only a version that still knows it brings it to revision {HEAD}"
        raise RefusedError(f"the catalog is at revision {current}, {what}") from error
