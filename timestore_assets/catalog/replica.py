"""A read replica of the catalog: asked for what a manifest version holds, as far as it has come, and never waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from timestore_assets.catalog.database import Database
from timestore_assets.catalog.postgres import DEFAULT_LIMITS, PostgresLimits
from timestore_assets.catalog.tables import datasets
from timestore_assets.model.errors import InputError

LOG = logging.getLogger(__name__)
T = TypeVar("T")
CONNECT_SECONDS = 2
STATEMENT_SECONDS = 10.0
PAUSE_SECONDS = 30.0
"""How long a replica that failed is left alone; meanwhile the primary is asked."""


class Replica:
    """Reads of manifest versions, which never change once they are there. Thread-safe.

    Attributes: `place`, what it is called (no password in it); `answered` and `passed_on`, how many reads it did and left to the
    primary.
    """

    def __init__(self, database: Database, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._database, self._pause_seconds = database, pause_seconds
        self._rests_until = 0.0
        self.answered = self.passed_on = 0

    @classmethod
    def open(cls, url: str, *, schema: str, limits: PostgresLimits = DEFAULT_LIMITS) -> Replica:
        """The replica behind a URL; nothing is connected yet.

        Raises:
            InputError: the URL is none, or not of PostgreSQL.
        """
        quick = replace(
            limits, connect_seconds=CONNECT_SECONDS, statement_seconds=min(limits.statement_seconds, STATEMENT_SECONDS)
        )
        try:
            database = Database.open(url, schema=schema, limits=quick)
        except InputError:
            raise InputError("TIMESTORE_DATABASE_READ_URL is not a database URL; write postgresql://…") from None
        if database.is_sqlite:
            raise InputError("TIMESTORE_DATABASE_READ_URL must be postgresql://…: SQLite has no read replicas")
        return cls(database)

    @property
    def place(self) -> str:
        return self._database.place

    def close(self) -> None:
        self._database.close()

    def read(self, dataset_id: int, version: int, work: Callable[[Connection], T]) -> T | None:
        """The result of `work`, on a snapshot that has this version of the dataset; None where there is none to be had.

        `work`: must not give None, and must read nothing but what belongs to that version or to earlier ones.
        """
        result = None
        if time.monotonic() >= self._rests_until:
            try:
                result = self._database.read_once(lambda connection: _at(connection, dataset_id, version, work))
            except (DBAPIError, PoolTimeoutError) as error:
                self._rests_until = time.monotonic() + self._pause_seconds
                LOG.warning("%s failed (%s); queries plan by the primary for a while", self.place, type(error).__name__)
        if result is None:
            self.passed_on += 1
        else:
            self.answered += 1
        return result


def _at(connection: Connection, dataset_id: int, version: int, work: Callable[[Connection], T]) -> T | None:
    there = connection.execute(select(datasets.c.manifest_version).where(datasets.c.id == dataset_id)).scalar()
    return work(connection) if there is not None and there >= version else None
