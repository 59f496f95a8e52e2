"""Of unbuilt rows with equal keys only one is in the answer: the one that a build would keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import duckdb

from timestore_assets.model.dataset import Dedupe
from timestore_assets.model.dedupe_order import keeping_order
from timestore_assets.model.schema import Schema
from timestore_assets.model.types import quote

_numbers = count()
# with more duplicates than this share of the rows, one window over all of them is cheaper than taking them apart
_FEW = 0.4


@contextmanager
def deduplicated(con: duckdb.DuckDBPyConnection, source: str, *, dedupe: Dedupe, schema: Schema, rows: int) -> Iterator[str]:
    """A SQL table expression of the rows of `source` that no other row supersedes, valid inside the `with`.

    A first pass reads the keys alone; usually it finds few duplicates or none, and the other columns are then streamed. `source`:
    table expression with every column in its stored form and the hidden ones. `rows`: how many it has at most.
    """
    keys = ", ".join(quote(name) for name in dedupe.keys)
    table = f"duplicated_{next(_numbers)}"
    con.execute(
        f"CREATE TEMP TABLE {table} AS SELECT {keys}, count(*) AS __copies FROM {source} GROUP BY ALL HAVING count(*) > 1"
    )
    try:
        ((copies,),) = con.execute(f"SELECT coalesce(sum(__copies), 0)::BIGINT FROM {table}").fetchall()
        yield _kept(source, table, dedupe, schema, copies=copies, rows=rows)
    finally:
        con.execute(f"DROP TABLE IF EXISTS {table}").fetchall()


def _kept(source: str, table: str, dedupe: Dedupe, schema: Schema, *, copies: int, rows: int) -> str:
    if copies == 0:
        return source
    keys = ", ".join(quote(name) for name in dedupe.keys)
    first = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {keeping_order(dedupe, schema)}) = 1"
    if copies > _FEW * rows:
        return f"(SELECT * FROM {source} {first})"
    # nulls are equal in GROUP BY, so they have to be here too
    same = " AND ".join(f"r.{quote(name)} IS NOT DISTINCT FROM d.{quote(name)}" for name in dedupe.keys)
    lone = f"SELECT r.* FROM {source} r ANTI JOIN {table} d ON ({same})"
    shared = f"SELECT r.* FROM {source} r SEMI JOIN {table} d ON ({same})"
    return f"({lone} UNION ALL SELECT * FROM ({shared}) {first})"
