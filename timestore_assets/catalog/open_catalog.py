"""From settings to the catalog.

Where its database is and how to log in there is said by the settings or by an entry of AWS Secrets Manager.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.database import PATIENCE_SECONDS
from timestore_assets.catalog.postgres import PostgresLimits
from timestore_assets.model.errors import InputError
from timestore_assets.secret_store import secret_text

if TYPE_CHECKING:
    from timestore_assets.settings import Settings


_WANTED = 'a database URL, or JSON like {"host": …, "port": …, "username": …, "password": …, "dbname": …}'
_PARTS = {"username": "username", "password": "password", "host": "host", "port": "port", "database": "dbname"}


def database_url(settings: Settings) -> str:
    """The URL of the catalog's database, with its password; not for any message.

    Raises:
        InputError: the secret is none, or holds no address. UnavailableError: it can't be had now, or not by us.
    """
    secret = settings.database_url_secret
    if secret is None:
        return settings.catalog_url
    base = settings.database_url.get_secret_value() if settings.database_url else None
    return url_of_secret(secret_text(secret), name=secret, base=base)


def url_of_secret(text: str, *, name: str, base: str | None) -> str:
    """The URL in a secret's text, which is one or the JSON that RDS keeps.

    `name`: of the entry, for errors. `base`: a URL that says what the JSON leaves out: entries that RDS rotates by itself hold
    nothing but user and password.

    Raises:
        InputError: it is neither, or host or user are missing.
    """
    if not text.lstrip().startswith("{"):
        return text.strip()
    refused = InputError(f"secret {name} of AWS Secrets Manager holds no database address; write {_WANTED}")
    try:
        entry = json.loads(text)
        url = make_url(base) if base else URL.create("postgresql")
        said: dict[str, Any] = {part: entry[key] for part, key in _PARTS.items() if entry.get(key)}
        if "port" in said:
            said["port"] = int(said["port"])
    except (ValueError, TypeError, AttributeError, ArgumentError):
        raise refused from None
    url = url.set(**said)
    if not url.username or not (url.host or url.query.get("host")):
        raise refused
    return url.render_as_string(hide_password=False)


def with_login_of(url: str, other: str) -> str:
    """The other URL, with the user and password of the first where it names no user: a replica has those of its primary."""
    try:
        first, second = make_url(url), make_url(other)
    except (ValueError, ArgumentError):
        return other  # whoever opens it says what is wrong
    if second.username:
        return other
    return second.set(username=first.username, password=first.password).render_as_string(hide_password=False)


def open_catalog(settings: Settings, *, patience: float = PATIENCE_SECONDS) -> Catalog:
    """Open the catalog that the settings describe, making or migrating its tables when that is needed.

    `patience`: seconds to wait for another's transaction.

    Raises:
        InputError: an address, the credentials or the secret that holds them are wrong.
        UnavailableError: the database, or its secret, can't be reached. RefusedError: a newer version of this package made it.
    """
    limits = PostgresLimits(
        pool_size=settings.database_pool_size,
        overflow=settings.database_pool_overflow,
        statement_seconds=settings.database_statement_timeout_seconds,
    )
    url, replica = database_url(settings), settings.database_read_url
    return Catalog.open(
        url,
        schema=settings.pg_schema,
        patience=patience,
        limits=limits,
        read_url=with_login_of(url, replica.get_secret_value()) if replica else None,
        renew=(lambda: database_url(settings)) if settings.database_url_secret else None,
    )
