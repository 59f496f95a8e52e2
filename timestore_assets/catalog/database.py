"""Transactions on the catalog's database: short ones, retried when that is safe, and settled when their end is not known."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Transaction, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from timestore_assets.catalog.database_errors import Failure, classify, translate
from timestore_assets.catalog.instants import wall_clock
from timestore_assets.catalog.postgres import DEFAULT_LIMITS, PostgresLimits, postgres_engine
from timestore_assets.catalog.replacement import Replacement
from timestore_assets.catalog.sqlite import WRITES, bring_into_file, file_of, sqlite_engine
from timestore_assets.model.errors import InputError, UnavailableError, UnknownOutcomeError
from timestore_assets.retry import RetryPolicy

T = TypeVar("T")
ATTEMPTS = 6
PATIENCE_SECONDS = 30.0
RECONNECT_SECONDS = 20.0
"""How long a server that was there before, and is not now, is waited for: a restart takes some seconds."""
_BACKOFF = RetryPolicy(first_wait=0.04, longest_wait=1.0, jitter=0.5)


class Database:
    """One catalog database.

    Attributes: `place`, what error messages call it (no password in it); `schema`, PostgreSQL's, else None; `reconnect_seconds`,
    how long a server that has gone is waited for.
    """

    def __init__(self, engine: Engine, *, place: str, schema: str | None, reconnect_seconds: float = RECONNECT_SECONDS) -> None:
        self.engine, self.place, self.schema, self.reconnect_seconds = engine, place, schema, reconnect_seconds
        self._was_there = False
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.replacement = Replacement(place, file_of(engine.url) if self.is_sqlite else None)
        event.listen(engine, "connect", lambda connection, _entry: self.replacement.opened(connection))
        event.listen(engine, "close", lambda _connection, _entry: self.replacement.closed())
        event.listen(engine, "connect", _remember_process)
        event.listen(engine, "checkout", _refuse_after_fork)
        writes: dict[str, Any] = {WRITES: True} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}
        reads: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._writing = engine.execution_options(**writes)
        self._reading = engine.execution_options(**reads)

    @classmethod
    def open(
        cls, url: str, *, schema: str, patience: float = PATIENCE_SECONDS, limits: PostgresLimits = DEFAULT_LIMITS
    ) -> Database:
        """The database behind a URL; nothing is connected yet. `patience`: seconds to wait for another's transaction.

        Raises:
            InputError: the URL is none, or of a database that is not supported.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise InputError("TIMESTORE_DATABASE_URL is not a database URL; write sqlite:////path or postgresql://…") from None
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            return cls(sqlite_engine(parsed, patience=patience), place=f"catalog {parsed.database}", schema=None)
        if kind == "postgresql":
            engine = postgres_engine(parsed, schema=schema, patience=patience, limits=limits)
            return cls(engine, place=_postgres_place(parsed), schema=schema)
        raise InputError(f"the catalog can't live in {kind!r}; use a sqlite: or postgresql: URL in TIMESTORE_DATABASE_URL")

    def close(self) -> None:
        self.engine.dispose()

    def now(self, connection: Connection) -> int:
        """Now in microseconds, by the one clock that all users of this database share."""
        if self.is_sqlite:
            return wall_clock()
        micros: int = connection.execute(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")).scalar_one()
        return micros

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one unchanging snapshot."""
        return self._persist(lambda: self.read_once(work))

    def read_once(self, work: Callable[[Connection], T]) -> T:
        """The same without a second try; DBAPIError or SQLAlchemy's TimeoutError as they come."""
        self.replacement.require()
        with _transaction(self._reading) as (connection, _):
            return work(connection)

    def write(
        self, work: Callable[[Connection], T], *, settle: Callable[[Connection], T | None] | None = None, repeatable: bool = True
    ) -> T:
        """Run `work` in a transaction of its own and commit it.

        `work` may run several times: after a deadlock, or when the connection broke before COMMIT. When it breaks *during*
        COMMIT, `settle` is asked on a new connection for the result, None meaning that it was not committed; without
        `settle`, a `repeatable` work is done again.

        Raises:
            UnavailableError: the database is locked, full or gone.
            CatalogReplacedError: it is not the one that was opened; whatever was committed counts for nothing.
            UnknownOutcomeError: it broke during COMMIT and could not be settled.
        """

        def once() -> T:
            self.replacement.require()
            with _transaction(self._writing) as (connection, transaction):
                # it may have waited for another's transaction
                self.replacement.require()
                result = work(connection)
                try:
                    transaction.commit()
                    # what went into a file that nobody will find is not done
                    self.replacement.require()
                    if self.replacement.log_is_gone():
                        bring_into_file(connection)
                    return result
                except DBAPIError as error:
                    if not _outcome_unknown(error):
                        raise
                    failure = error
            return self._settled(failure, settle, repeatable=repeatable)

        return self._persist(once)

    def timed(self, work: Callable[[Connection, int], T], *, repeatable: bool = True) -> T:
        """`write` for a work that is told the time."""
        return self.write(lambda connection: work(connection, self.now(connection)), repeatable=repeatable)

    def _settled(self, error: DBAPIError, settle: Callable[[Connection], T | None] | None, *, repeatable: bool) -> T:
        if settle is not None:
            try:
                settled = self._tried(lambda: self._asked(settle))
            except (DBAPIError, PoolTimeoutError) as second:
                raise self._unknown(error) from second
            if settled is not None:
                return settled
        elif not repeatable:
            raise self._unknown(error) from error
        raise error

    def _asked(self, settle: Callable[[Connection], T | None]) -> T | None:
        # a write transaction: SQLite begins it when the one in doubt has ended
        self.replacement.require()
        with _transaction(self._writing) as (connection, _):
            return settle(connection)

    def _unknown(self, error: DBAPIError) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{self.place} broke off during a commit, which may or may not have happened ({classify(error).value})"
        )

    def _persist(self, once: Callable[[], T]) -> T:
        try:
            return self._tried(once)
        except PoolTimeoutError as error:
            raise UnavailableError(f"{self.place}: too many connections are in use at once in this process") from error
        except DBAPIError as error:
            self.replacement.require()
            raise translate(error, self.place) from error

    def _tried(self, once: Callable[[], T]) -> T:
        """Try again after conflicts some times, and while a server that was there is gone for `reconnect_seconds`."""
        attempt, deadline, tries = 0, 0.0, _BACKOFF.tries()
        next(tries)
        while True:
            try:
                result = once()
            except DBAPIError as error:
                attempt += 1
                deadline = deadline or time.monotonic() + self.reconnect_seconds
                if not self._may_try_again(classify(error), attempt, deadline):
                    raise
            else:
                self._was_there = True
                return result
            next(tries)

    def _may_try_again(self, failure: Failure, attempt: int, deadline: float) -> bool:
        if failure is Failure.CONFLICT:
            return attempt < ATTEMPTS
        if failure not in (Failure.LOST, Failure.UNREACHABLE) or self.is_sqlite:
            return False
        # whoever comes while it stays away need not wait as long as the first did
        self._was_there = self._was_there and time.monotonic() < deadline
        return self._was_there


@contextmanager
def _transaction(engine: Engine) -> Iterator[tuple[Connection, Transaction]]:
    """A connection in a transaction; one that is interrupted in the middle is closed, so that its locks go with it."""
    with engine.connect() as connection:
        try:
            with connection.begin() as transaction:
                yield connection, transaction
        except DBAPIError as error:
            if classify(error) in (Failure.UNWRITABLE, Failure.READ_ONLY):
                # it was opened where nothing could be written, which may be over when the next one is
                connection.invalidate()
            raise
        except Exception:
            raise
        except BaseException:
            # Ctrl-C or a terminated run may strike between BEGIN and what would have ended it
            connection.invalidate()
            raise


def _outcome_unknown(error: DBAPIError) -> bool:
    return classify(error) in (Failure.LOST, Failure.UNREACHABLE, Failure.OTHER)


def _postgres_place(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    where = host if isinstance(host, str) else ",".join(host)
    return f"catalog {url.database or 'postgres'} on PostgreSQL at {where}{f':{url.port}' if url.port else ''}"


def _remember_process(_connection: object, entry: ConnectionPoolEntry) -> None:
    entry.info["process"] = os.getpid()


def _refuse_after_fork(_connection: object, entry: Any, fairy: Any) -> None:
    # a connection that two processes share after a fork corrupts a SQLite file and confuses PostgreSQL: open another
    if entry.info["process"] != os.getpid():
        entry.dbapi_connection = fairy.dbapi_connection = None
        raise DisconnectionError("the connection belongs to the parent process")
