"""A session at work: known to the catalog, kept alive, with a database connection of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from timestore_assets.catalog.port import Catalog
from timestore_assets.landing.keep_alive import Heart, kept_alive
from timestore_assets.model.errors import TimestoreError
from timestore_assets.storage.engine import EngineLimits, connect


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkingSession:
    id: int
    heart: Heart
    con: duckdb.DuckDBPyConnection


@contextmanager
def working(
    catalog: Catalog, dataset_id: int, kind: str, *, holder: str, ttl: timedelta, limits: EngineLimits
) -> Iterator[WorkingSession]:
    """Begin a session, and end it with the block however that ends."""
    session_id = catalog.begin_session(dataset_id, kind, holder=holder, ttl=ttl)
    limits.temp_dir.mkdir(parents=True, exist_ok=True)
    try:
        with kept_alive(catalog, session_id, ttl=ttl) as heart, closing(connect(limits)) as con:
            yield WorkingSession(id=session_id, heart=heart, con=con)
    finally:
        # an error that is under way matters more than this, and a session that is not ended expires
        with suppress(TimestoreError):
            catalog.end_session(session_id)
