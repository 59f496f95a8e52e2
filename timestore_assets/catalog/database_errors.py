"""What a database error means for the caller: retry, wait, free some space, or correct the address."""

from __future__ import annotations

import sqlite3
from enum import Enum

from sqlalchemy.exc import DBAPIError

from timestore_assets.model.errors import (
    CatalogReplacedError,
    ForgottenError,
    InputError,
    StorageFullError,
    TimestoreError,
    UnavailableError,
    UnwritableError,
)


class Failure(Enum):
    CONFLICT = "conflict"  # deadlock or serialisation: run the transaction again
    LOST = "lost"  # the connection is gone
    LOCKED = "locked"
    FULL = "full"
    UNREACHABLE = "unreachable"
    TOO_LONG = "too long"  # a statement passed its time limit
    READ_ONLY = "read only"  # a replica, or a primary that was one before a failover
    UNWRITABLE = "unwritable"  # a file on a disk that takes no writes
    WRONG = "wrong"  # the address, the credentials or the database behind it
    NO_TABLES = "no tables"  # they were there when the catalog was opened
    UNKNOWN_ID = "unknown id"
    OTHER = "other"


_SQLITE = {
    sqlite3.SQLITE_BUSY: Failure.LOCKED,
    sqlite3.SQLITE_LOCKED: Failure.LOCKED,
    sqlite3.SQLITE_FULL: Failure.FULL,
    sqlite3.SQLITE_IOERR: Failure.UNREACHABLE,
    sqlite3.SQLITE_CANTOPEN: Failure.UNREACHABLE,
    sqlite3.SQLITE_READONLY: Failure.UNWRITABLE,
    sqlite3.SQLITE_PERM: Failure.UNREACHABLE,
    sqlite3.SQLITE_NOTADB: Failure.WRONG,
    sqlite3.SQLITE_CORRUPT: Failure.WRONG,
}
_SQLITE_WRITING = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_POSTGRES = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "55P03": Failure.LOCKED,
    "53100": Failure.FULL,
    "57014": Failure.TOO_LONG,
    "42501": Failure.WRONG,
    "25006": Failure.READ_ONLY,
    "0A000": Failure.READ_ONLY,  # what a standby says to BEGIN READ WRITE; we ask for nothing else that is unsupported
    "25P03": Failure.LOST,
    "42P01": Failure.NO_TABLES,
    "3F000": Failure.NO_TABLES,
    "23503": Failure.UNKNOWN_ID,
}
_POSTGRES_CLASSES = {
    "08": Failure.LOST,
    "53": Failure.UNREACHABLE,
    "57": Failure.LOST,
    "28": Failure.WRONG,
    "3D": Failure.WRONG,
}


def classify(error: DBAPIError) -> Failure:
    """The kind of failure behind SQLAlchemy's wrapper."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        if code in _SQLITE_WRITING:
            return Failure.UNWRITABLE
        if str(cause).startswith("no such table"):
            return Failure.NO_TABLES
        # the low byte is the primary code; the rest refines it
        return Failure.UNKNOWN_ID if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY else _SQLITE.get(code & 0xFF, Failure.OTHER)
    state = getattr(cause, "sqlstate", None)
    if state:
        return _POSTGRES.get(state) or _POSTGRES_CLASSES.get(state[:2], Failure.OTHER)
    # psycopg gives no state when there was no server to give one
    return Failure.LOST if error.connection_invalidated else Failure.UNREACHABLE


def translate(error: DBAPIError, place: str) -> TimestoreError | DBAPIError:
    """The project's error for a database error; `place` is where the catalog is, without any password.

    An error that can only be a bug (a broken constraint, wrong SQL) comes back as it is.
    """
    reason = _first_line(error)
    match classify(error):
        case Failure.LOCKED | Failure.CONFLICT:
            return UnavailableError(f"{place} stayed locked by another process; try again when that one is done ({reason})")
        case Failure.FULL:
            return StorageFullError(f"no room left for {place}; free some space and try again")
        case Failure.WRONG:
            return InputError(f"{place} can't be used: {reason}; check TIMESTORE_DATABASE_URL")
        case Failure.TOO_LONG:
            hint = "see what keeps the database busy, or raise TIMESTORE_DATABASE_STATEMENT_TIMEOUT_SECONDS"
            return UnavailableError(f"{place} took too long over a statement; {hint}")
        case Failure.READ_ONLY:
            hint = "a failover may be under way; else let TIMESTORE_DATABASE_URL lead to the primary"
            return UnwritableError(f"{place} takes no writes, as a replica does: {hint}")
        case Failure.UNWRITABLE:
            return UnwritableError(f"{place} can't be written ({reason}); see that its disk has room and is mounted writable")
        case Failure.UNREACHABLE | Failure.LOST:
            return UnavailableError(f"{place} can't be reached: {reason}")
        case Failure.NO_TABLES:
            return CatalogReplacedError(
                f"{place} can't be used any more, it was emptied or replaced under this process and its tables are gone "
                f"({reason}); put the right catalog back and start this process again"
            )
        case Failure.UNKNOWN_ID:
            return ForgottenError(f"an id that {place} doesn't know: {reason}")
    return error


def _first_line(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0].removesuffix(".") if lines else type(error.orig).__name__
