"""PostgreSQL as the catalog: a schema of its own in a database that may hold other things."""

from __future__ import annotations

import re

from sqlalchemy import URL, Engine, create_engine

from timestore_assets.model.errors import InputError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
CONNECT_SECONDS = 10


def postgres_engine(url: URL, *, schema: str, patience: float) -> Engine:
    """An engine whose connections see the tables of `schema`; `patience`: seconds to wait for a lock.

    Raises:
        InputError: the schema's name needs quoting.
    """
    if not _NAME.fullmatch(schema):
        raise InputError(f"{schema!r} can't be the catalog's schema; write lower-case letters, digits and _")
    options = f"-csearch_path={schema} -clock_timeout={int(patience * 1000)} -ctimezone=UTC"
    given = url.query.get("options")
    if isinstance(given, str):
        options = f"{given} {options}"
    return create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        connect_args={"options": options, "connect_timeout": CONNECT_SECONDS, "application_name": "timestore"},
        pool_size=8,
        max_overflow=64,
        pool_pre_ping=True,
        hide_parameters=True,
    )
