"""Finding the file that a failed merge could not read, because DuckDB's own words rarely name it or say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import duckdb

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import Segment
from timestore_assets.storage.engine import unreadable
from timestore_assets.storage.port import Readable
from timestore_assets.storage.reading import opened


def damaged_segment(
    con: duckdb.DuckDBPyConnection,
    segments: Iterable[Segment],
    *,
    storage: Readable,
    schema: Schema,
    schema_of: Callable[[int], Schema],
) -> TimestoreError | None:
    """The error that names the first of the segments whose rows can't all be read; None when all can."""
    for segment in segments:
        try:
            with opened(con, [segment], storage=storage, schema=schema, schema_of=schema_of, stored=True) as source:
                # a hash over whole rows makes DuckDB decode every page
                con.execute(f"SELECT max(hash(held)) FROM {source} AS held").fetchall()
        except duckdb.Error as error:
            return unreadable(segment.name, error)
        except TimestoreError as error:
            return error
    return None
