"""Dagster's runs, events and schedules beside the catalog: in its PostgreSQL database, in a schema of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

URL_VARIABLE = "DAGSTER_DATABASE_URL"
"""What `dagster.yaml` names in place of the URL, so that no password is in a file."""

_STORAGE = f"""
storage: # beside the catalog, because TIMESTORE_DATABASE_URL is on PostgreSQL
  postgres:
    postgres_url:
      env: {URL_VARIABLE}
"""


def dagster_schema(settings: Settings) -> str:
    """The PostgreSQL schema of Dagster's tables."""
    return f"{settings.pg_schema}_dagster"


def with_storage(dagster_yaml: str) -> str:
    """The text of a `dagster.yaml` that stores in PostgreSQL; one that says where to store stays as it is."""
    import yaml

    return dagster_yaml if "storage" in (yaml.safe_load(dagster_yaml) or {}) else dagster_yaml.rstrip("\n") + "\n" + _STORAGE


def dagster_database_url(settings: Settings) -> str:
    """The URL for Dagster, whose driver is psycopg2, with its password; not for any file or message.

    Raises:
        InputError, UnavailableError: as for the catalog's URL.
    """
    from sqlalchemy import make_url

    from timestore_assets.catalog.database_address import database_url

    url = make_url(database_url(settings))
    given = url.query.get("options")
    options = f"{given} " if isinstance(given, str) else ""
    url = url.set(drivername="postgresql+psycopg2")
    return url.update_query_dict({"options": f"{options}-csearch_path={dagster_schema(settings)}"}).render_as_string(
        hide_password=False
    )


def make_schema(settings: Settings) -> None:
    """Make the schema, unless it is there: an administrator may have made it for a user who may not.

    Raises:
        InputError, UnavailableError: the database can't be used.
    """
    from sqlalchemy import Connection, inspect, text

    from timestore_assets.catalog.database import Database
    from timestore_assets.catalog.database_address import database_url

    schema = dagster_schema(settings)

    def make(connection: Connection) -> None:
        if not inspect(connection).has_schema(schema):
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))

    database = Database.open(database_url(settings), schema=schema)
    try:
        database.write(make)
    finally:
        database.close()
