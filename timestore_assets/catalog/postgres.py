"""PostgreSQL as the catalog: a schema of its own in a database that may hold other things."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
CONNECT_SECONDS = 10
_DEAD_AFTER = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A peer that vanished without a word, as in a failover, is noticed within a minute and not after the kernel's two hours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresLimits:
    """Of one process. `pool_size`: connections that are kept; `overflow`: further ones while those are busy.

    `statement_seconds`: time limit of one statement, and of the pause between two of a transaction. `connect_seconds`: of opening
    a connection.
    """

    pool_size: int = 8
    overflow: int = 64
    statement_seconds: float = 120
    connect_seconds: int = CONNECT_SECONDS


DEFAULT_LIMITS = PostgresLimits()


def postgres_engine(url: URL, *, schema: str, patience: float, limits: PostgresLimits = DEFAULT_LIMITS) -> Engine:
    """An engine whose connections see the tables of `schema`; `patience`: seconds to wait for a lock.

    Raises:
        InputError: the schema's name needs quoting. MissingExtraError: the driver is not installed.
    """
    if not _NAME.fullmatch(schema):
        raise InputError(f"{schema!r} can't be the catalog's schema; write lower-case letters, digits and _")
    # a transaction that a stopped process left open would hold a dataset's row, and all who land in it, for ever
    statement = int(limits.statement_seconds * 1000)
    options = (
        f"-csearch_path={schema} -clock_timeout={int(patience * 1000)} -cstatement_timeout={statement} "
        f"-cidle_in_transaction_session_timeout={statement} -ctimezone=UTC"
    )
    given = url.query.get("options")
    if isinstance(given, str):
        options = f"{given} {options}"
    how: dict[str, Any] = {"options": options, "connect_timeout": limits.connect_seconds, "application_name": "timestore"}
    with extra("postgres"):
        return create_engine(
            url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
            connect_args=how | _DEAD_AFTER,
            pool_size=limits.pool_size,
            max_overflow=limits.overflow,
            pool_pre_ping=True,
            hide_parameters=True,
        )


def renew_password(engine: Engine, read_url: Callable[[], str]) -> None:
    """Let new connections try the password of the URL read again when theirs is refused: it may have been rotated."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _entry: ConnectionPoolEntry, args: list[Any], how: dict[str, Any]) -> DBAPIConnection:
        try:
            return dialect.connect(*args, **how)
        except dialect.loaded_dbapi.Error:
            newest = make_url(read_url())
            if newest.password == how.get("password"):
                raise
            how |= {"user": newest.username, "password": newest.password}
            return dialect.connect(*args, **how)
