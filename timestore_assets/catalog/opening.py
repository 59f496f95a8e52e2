"""From settings to the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timestore_assets.catalog.database import PATIENCE_SECONDS
from timestore_assets.catalog.database_address import database_url, with_login_of
from timestore_assets.catalog.postgres import PostgresLimits
from timestore_assets.catalog.sql import SqlCatalog

if TYPE_CHECKING:
    from timestore_assets.settings import Settings


def open_catalog(settings: Settings, *, patience: float = PATIENCE_SECONDS) -> SqlCatalog:
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
    return SqlCatalog.open(
        url,
        schema=settings.pg_schema,
        patience=patience,
        limits=limits,
        read_url=with_login_of(url, replica.get_secret_value()) if replica else None,
        renew=(lambda: database_url(settings)) if settings.database_url_secret else None,
    )
